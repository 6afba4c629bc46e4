// The server: calls with the tab's API key, media, and server-sent events that resume.

const KEY = "reelwright-key";
export const key = () => sessionStorage.getItem(KEY) ?? "";
export const setKey = value => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY));

export class ApiError extends Error {
  constructor(message, status, param) {
    super(message);
    this.status = status;
    this.param = param;
  }
}

async function request(path, { method = "GET", json, form, headers = {}, signal } = {}) {
  const sent = { ...headers };
  if (key()) sent.authorization = `Bearer ${key()}`;
  if (json) sent["content-type"] = "application/json";
  let reply;
  try {
    reply = await fetch(path, { method, headers: sent, body: json ? JSON.stringify(json) : form, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer; look whether it runs: reel status", 0);
  }
  if (reply.ok) return reply;
  const body = await reply.json().catch(() => null);
  const said = body?.error;
  const wait = reply.status === 429 ? reply.headers.get("retry-after") : null;
  throw new ApiError((said?.message ?? `The server answers ${reply.status}.`) + (wait ? ` (in ${wait} s)` : ""),
    reply.status, said?.param);
}

export const call = async (path, options) => (await request(path, options)).json();

// An address for <img> and <video>, which cannot send a key: with one, a copy in memory.
export async function media(path) {
  if (!key()) return path;
  return URL.createObjectURL(await (await request(path)).blob());
}

export async function download(path, name) {
  const url = URL.createObjectURL(await (await request(path)).blob());
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// Calls `on(type, data)` for each event until the stream has ended for good.
export async function follow(path, on) {
  let last = "";
  for (let pause = 500; ; pause = Math.min(pause * 2, 8000)) {
    try {
      const reply = await request(path, { headers: last ? { "last-event-id": last } : {} });
      if (reply.status === 204) return;
      const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
        const blocks = text.split("\n\n");
        text = blocks.pop();
        for (const block of blocks) {
          const fields = Object.fromEntries(block.split("\n").map(line => {
            const at = line.indexOf(":");
            return [line.slice(0, at), line.slice(at + 1).trim()];
          }));
          if (fields.id) last = fields.id;
          if (fields.event) on(fields.event, JSON.parse(fields.data));
          if (["video.completed", "video.failed", "video.deleted"].includes(fields.event)) return;
          pause = 500;
        }
      }
    } catch (error) {
      if (error.status >= 400 && error.status < 500) return;
    }
    await new Promise(done => setTimeout(done, pause));
  }
}
