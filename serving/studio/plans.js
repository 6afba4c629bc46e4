// What the forms of the workflows ask; names are those of the plans (see /v1/workflows).
// A field is [name, label, type, properties]; a group is a list in the plan.

const STYLE = ["style", "Style, for every shot", "text", { placeholder: "ink wash, soft light" }];
const SEED = ["seed", "Seed", "number", { min: 0, placeholder: "0" }];
const NAME = "[A-Za-z0-9][A-Za-z0-9_\\-]*";
const SECONDS = ["seconds", "Seconds", "number", { min: 1, max: 60, placeholder: "4" }];

export const WORKS = {
  storyboard: {
    name: "Storyboard",
    about: "A script or a list of shots becomes takes, an animatic, contact sheets and a timeline for your editor.",
    gives: "An animatic with slates, contact sheets (PNG, PDF), OpenTimelineIO, EDL, FCPXML and shots.csv.",
    fields: [
      ["title", "Title", "text", { required: true, maxLength: 300 }],
      STYLE,
      ["script", "Script (Fountain), in place of shots", "area", { rows: 4, placeholder: "EXT. HARBOUR - NIGHT\n\nMara waits on the pier." }],
      ["takes", "Takes of each shot", "number", { min: 1, max: 8, placeholder: "1" }],
      SEED,
    ],
    groups: [{ name: "shots", one: "Shot", id: "s", fields: [
      ["prompt", "What is seen", "area"],
      ["dialogue", "Dialogue", "area", { rows: 1 }],
      SECONDS,
      ["camera", "Camera", "text", { placeholder: "dolly in" }],
      ["continuity", "Begins", "select", { options: [["", "anew"], ["previous", "from the last"]] }],
      ["characters", "Who is in it", "list", { placeholder: "mara, ben" }],
      ["reference", "First frame", "picture"],
    ] },
    { name: "characters", one: "Character", least: 0, fields: [
      ["id", "Name", "text", { pattern: NAME, placeholder: "mara" }],
      ["words", "Looks like", "text", { placeholder: "a woman in a red coat" }],
      ["reference", "Picture", "picture"],
    ] }],
    finish(plan) {
      plan.shots = plan.shots?.filter(shot => shot.prompt);
      if (!plan.shots?.length) delete plan.shots;
      return plan;
    },
  },
  game: {
    name: "Game",
    about: "Loops, sprite sheets, skyboxes and plates that an engine opens as they are.",
    gives: "Seamless loops, flipbook sheets with engine metadata, skyboxes and plates, each with its seam measured.",
    fields: [["title", "Title", "text", { required: true, maxLength: 300 }], STYLE, SEED],
    groups: [{ name: "items", one: "Asset", id: "a", by: "type", fields: [
      ["type", "Kind", "select", { options: [["loop", "Loop"], ["flipbook", "Flipbook"], ["plate", "Background plate"], ["skybox", "Skybox"]] }],
      ["prompt", "What is seen", "area"],
      ["seconds", "Seconds", "number", { min: 1, max: 60, placeholder: "4", when: "loop plate" }],
      ["rows", "Rows", "number", { min: 1, max: 32, placeholder: "8", when: "flipbook" }],
      ["columns", "Columns", "number", { min: 1, max: 32, placeholder: "8", when: "flipbook" }],
      ["tile", "Tile, pixels", "number", { min: 16, max: 512, step: 2, placeholder: "128", when: "flipbook" }],
      ["alpha", "Cut out", "select", { options: [["none", "nothing"], ["luma", "light on black"]], when: "flipbook" }],
      ["height", "Height, pixels", "number", { min: 32, max: 1024, step: 2, placeholder: "512", when: "skybox" }],
    ] }],
    finish: plan => ({ ...plan, items: plan.items?.filter(item => item.prompt) ?? [] }),
  },
  lesson: {
    name: "Lesson",
    about: "Segments with narration become one film with title cards, captions, chapters, a transcript and a course package.",
    gives: "lesson.mp4, captions and chapters (WebVTT), transcript, quiz cues and a SCORM package.",
    fields: [
      ["title", "Title", "text", { required: true, maxLength: 300 }],
      ["objective", "What learners will know", "text"],
      ["audience", "Audience", "text", { placeholder: "grade 5" }],
      ["language", "Language", "text", { placeholder: "en" }],
      STYLE,
      ["review", "Somebody approves before it is published", "check", { value: true }],
    ],
    groups: [{ name: "segments", one: "Segment", id: "p", fields: [
      ["title", "Chapter"],
      ["prompt", "What is seen", "area"],
      ["narration", "What is said", "area"],
      ["on_screen", "Words on the picture"],
      ["history", "Shows what nobody filmed", "check"],
      ["asset", "First frame", "picture"],
    ] }],
    finish: plan => ({ ...plan, review: plan.review ?? false }),
  },
  campaign: {
    name: "Campaign",
    about: "Few generations become every variant: audience, language and aspect, with your brand on each.",
    gives: "A film for each audience, language and aspect, thumbnails, checks for contrast and safe areas, manifest.csv.",
    fields: [
      ["title", "Title", "text", { required: true, maxLength: 300 }],
      ["prompt", "What is seen", "area", { required: true, placeholder: "a runner at dawn" }],
      ["aspects", "Aspects (16:9, 1:1, 4:5, 9:16)", "list", { value: "16:9, 9:16", required: true }],
      ["durations", "Seconds, one or more lengths", "list", { placeholder: "6, 15" }],
      ["short_side", "Short side, pixels", "number", { min: 120, max: 1080, placeholder: "720" }],
      ["brand.color", "Brand colour", "text", { pattern: "#[0-9A-Fa-f]{6}", placeholder: "#101828" }],
      ["brand.ink", "Colour of words on it", "text", { pattern: "#[0-9A-Fa-f]{6}", placeholder: "#FFFFFF" }],
      ["brand.legal", "Legal line", "text", { maxLength: 300 }],
      ["brand.logo", "Logo", "picture"],
      ["budget_device_s", "Budget, seconds of work", "number", { min: 1, placeholder: "none" }],
    ],
    groups: [
      { name: "audiences", one: "Audience", fields: [["id", "Name", "text", { pattern: NAME, placeholder: "trail" }], ["scene", "What they see", "text", { placeholder: "forest path" }]] },
      { name: "locales", one: "Language", fields: [["id", "Tag", "text", { placeholder: "en" }], ["headline", "Headline"], ["cta", "Call to action"]] },
    ],
    finish: plan => (plan.durations ? { ...plan, durations: plan.durations.map(Number) } : plan),
  },
};
