// Plays a lesson, asks its questions, and reports to the platform by the SCORM 1.2 run-time API.
"use strict";
(function () {
  const lesson = JSON.parse(document.getElementById("lesson").textContent);
  const { questions, labels, passMark } = lesson;
  const byId = (id) => document.getElementById(id);
  const film = byId("film");
  const begun = Date.now();
  let answers = {};   // question id: number of the choice, counted from 1
  let current = null; // the question that is asked now
  let seen = 0;       // seconds of the film up to which questions were asked
  let watched = false;

  // --- The platform ---------------------------------------------------------------------------

  function findApi(from) {
    for (let win = from, depth = 0; win && depth < 20; depth += 1) {
      try {
        if (win.API) return win.API;
        if (win.parent === win) return null;
        win = win.parent;
      } catch (refused) {
        return null; // a frame of another site: not ours to look into
      }
    }
    return null;
  }

  const api = findApi(window) || (window.opener ? findApi(window.opener) : null);
  let open = false;
  let interactions = 0;

  function get(name) {
    return open ? String(api.LMSGetValue(name)) : "";
  }

  function set(name, value) {
    if (open) api.LMSSetValue(name, String(value));
  }

  function span(milliseconds) {
    const hundredths = Math.floor(milliseconds / 10);
    const two = (number) => String(number).padStart(2, "0");
    const seconds = Math.floor(hundredths / 100);
    return String(Math.floor(seconds / 3600)).padStart(4, "0") + ":" +
      two(Math.floor(seconds / 60) % 60) + ":" + two(seconds % 60) + "." + two(hundredths % 100);
  }

  function start() {
    open = Boolean(api) && String(api.LMSInitialize("")) === "true";
    if (!open) return;
    const status = get("cmi.core.lesson_status");
    if (status === "" || status === "not attempted") set("cmi.core.lesson_status", "incomplete");
    watched = status === "completed" || status === "passed" || status === "failed";
    interactions = Number(get("cmi.interactions._count")) || 0;
    try {
      const kept = JSON.parse(get("cmi.suspend_data"));
      for (const question of questions) {
        const answer = kept.answers[question.id];
        if (Number.isInteger(answer)) answers[question.id] = answer;
      }
    } catch (nothing) {
      answers = {}; // the first visit
    }
    const place = Number(get("cmi.core.lesson_location"));
    if (place > 0) {
      seen = place;
      film.addEventListener("loadedmetadata", () => {
        if (place < film.duration) film.currentTime = place;
      }, { once: true });
    }
    api.LMSCommit("");
  }

  function report() {
    set("cmi.core.lesson_location", film.currentTime.toFixed(1));
    set("cmi.suspend_data", JSON.stringify({ answers }));
    if (questions.length) {
      set("cmi.core.score.min", 0);
      set("cmi.core.score.max", 100);
      set("cmi.core.score.raw", score());
    }
    if (watched && unanswered().length === 0) {
      const done = questions.length === 0 ? "completed" : score() >= passMark ? "passed" : "failed";
      set("cmi.core.lesson_status", done);
    }
    if (open) api.LMSCommit("");
  }

  function finish() {
    if (!open) return;
    report();
    set("cmi.core.session_time", span(Date.now() - begun));
    set("cmi.core.exit", watched && unanswered().length === 0 ? "" : "suspend");
    api.LMSFinish("");
    open = false;
  }

  // --- The questions --------------------------------------------------------------------------

  function unanswered() {
    return questions.filter((question) => !(question.id in answers));
  }

  function score() {
    const right = questions.filter((question) => answers[question.id] === question.answer);
    return questions.length ? Math.round(100 * right.length / questions.length) : 100;
  }

  function ask(question) {
    current = question;
    film.pause();
    byId("question").textContent = question.question;
    byId("choices").replaceChildren(...question.choices.map((choice, index) => {
      const label = document.createElement("label");
      const radio = document.createElement("input");
      radio.type = "radio";
      radio.name = "choice";
      radio.value = String(index + 1);
      radio.required = true;
      label.append(radio, document.createTextNode(choice));
      return label;
    }));
    byId("feedback").textContent = "";
    byId("check").hidden = false;
    byId("go-on").hidden = true;
    byId("quiz").hidden = false;
    byId("question").focus();
  }

  function answer(event) {
    event.preventDefault();
    const chosen = document.querySelector("#choices input:checked");
    if (!current || !chosen) return;
    const number = Number(chosen.value);
    const right = number === current.answer;
    answers[current.id] = number;
    const letter = (index) => "abcdefghijklmnopqrstuvwxyz"[index - 1];
    const record = "cmi.interactions." + interactions + ".";
    interactions += 1;
    set(record + "id", current.id);
    set(record + "type", "choice");
    set(record + "time", new Date().toTimeString().slice(0, 8));
    set(record + "correct_responses.0.pattern", letter(current.answer));
    set(record + "student_response", letter(number));
    set(record + "result", right ? "correct" : "wrong");
    const truth = right ? labels.right : labels.wrong + " " + labels.answer + ": " +
      current.choices[current.answer - 1];
    byId("feedback").textContent = [truth, current.explanation].filter(Boolean).join(" ");
    for (const radio of document.querySelectorAll("#choices input")) radio.disabled = true;
    byId("check").hidden = true;
    byId("go-on").hidden = false;
    byId("go-on").focus();
    showScore();
    report();
  }

  function goOn() {
    current = null;
    byId("quiz").hidden = true;
    film.focus();
    if (!film.ended) film.play();
    else askNext();
  }

  function askNext() {
    const next = unanswered()[0];
    if (next) ask(next);
  }

  function showScore() {
    const known = questions.length - unanswered().length;
    if (known) byId("score").textContent = labels.score + ": " + score() + " % (" + known + " / " + questions.length + ")";
  }

  // --- The film -------------------------------------------------------------------------------

  film.addEventListener("timeupdate", () => {
    const now = film.currentTime;
    const due = questions.find((q) => !(q.id in answers) && q.at_s > seen && q.at_s <= now);
    // Who jumps ahead is not stopped on the way; what was left out is asked at the end.
    if (due && now - due.at_s < 2 && !current) ask(due);
    seen = now;
    const steps = [...document.querySelectorAll("#chapters button")];
    const at = steps.filter((step) => Number(step.dataset.at) <= now + 0.05).pop();
    for (const step of steps) {
      if (step === at) step.setAttribute("aria-current", "true");
      else step.removeAttribute("aria-current");
    }
  });
  film.addEventListener("seeking", () => { seen = Math.min(seen, film.currentTime); });
  film.addEventListener("pause", report);
  film.addEventListener("ended", () => {
    watched = true;
    report();
    if (!current) askNext();
  });
  for (const step of document.querySelectorAll("#chapters button")) {
    step.addEventListener("click", () => {
      film.currentTime = Number(step.dataset.at);
      film.focus();
    });
  }
  document.querySelector("#quiz form").addEventListener("submit", answer);
  byId("go-on").addEventListener("click", goOn);
  byId("check").textContent = labels.check;
  byId("go-on").textContent = labels.go_on;
  window.addEventListener("pagehide", finish);
  window.addEventListener("beforeunload", finish);
  start();
  showScore();
})();
