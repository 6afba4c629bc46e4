"""How the report's page looks: paper, ink, one accent; narrow screens first."""

CSS = """
:root { --paper: #faf9f6; --ink: #26282c; --soft: #6d7076; --line: #e2dfd7; --card: #fff;
        --new: #d1603d; --given: #9fb6c6; --good: #3d7a4c; --bad: #b3261e; --bar: #2f6f9f; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 20px 72px; }
h1 { font: 600 clamp(1.7rem, 5vw, 2.5rem)/1.15 Georgia, "Times New Roman", serif;
     margin: 0 0 .4em; letter-spacing: -.01em; max-width: 22em; }
h2 { font: 600 1.3rem/1.3 Georgia, "Times New Roman", serif; margin: 2.6em 0 .3em; }
p { margin: .3em 0 1em; max-width: 68ch; }
.lead { font-size: 1.08rem; }
.soft, small { color: var(--soft); }
code { font: .86em ui-monospace, SFMono-Regular, Menlo, monospace; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; display: block; border: 1px solid var(--line);
      border-radius: 6px; }
.reel { display: grid; gap: 18px; align-items: start;
        grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); }
.take { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
        overflow: hidden; margin: 0; }
.take .screen { background: #ece9e2; height: 264px; display: flex; justify-content: center; }
.take video, .take img { height: 100%; width: 100%; object-fit: contain; border: 0;
                         border-radius: 0; }
.take .seam { display: flex; height: 5px; }
.seam i { background: var(--new); } .seam .given { background: var(--given); min-width: 7px; }
.take figcaption { padding: 10px 14px 14px; }
.take b { display: block; font-size: .74rem; letter-spacing: .06em; text-transform: uppercase;
          color: var(--soft); font-weight: 600; }
.take q { display: block; margin: 2px 0 4px; }
.take small { font-size: .86rem; line-height: 1.4; display: block; }
.key { display: inline-block; width: .75em; height: .75em; border-radius: 2px; }
.two { display: grid; gap: 18px;
       grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); }
table { border-collapse: collapse; width: 100%; background: var(--card);
        border: 1px solid var(--line); border-radius: 8px; }
td, th { padding: 9px 12px; text-align: left; vertical-align: top;
         border-top: 1px solid var(--line); }
thead th { border-top: 0; font-size: .8rem; color: var(--soft); font-weight: 600; }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td small { display: block; font-size: .82rem; line-height: 1.4; overflow-wrap: anywhere; }
.met { color: var(--good); font-weight: 600; } .missed { color: var(--bad); font-weight: 700; }
.times { display: grid; grid-template-columns: minmax(8em, auto) 1fr 4em; gap: 5px 12px;
         align-items: center; font-size: .93rem; }
.times .step { padding-left: 1.1em; color: var(--soft); }
.times i { display: block; height: 11px; background: var(--bar); border-radius: 2px;
           min-width: 2px; }
.times .step + span i { height: 6px; opacity: .5; }
.times .number { text-align: right; font-variant-numeric: tabular-nums; }
footer { margin-top: 3em; border-top: 1px solid var(--line); padding-top: 1em;
         font-size: .88rem; color: var(--soft); }
@media (max-width: 560px) { main { padding: 24px 14px 48px; } td, th { padding: 8px; } }
"""
