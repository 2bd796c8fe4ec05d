// Follows the events of a run: shows its answer as it is written, its steps, and which nodes run.
// When it has ended, the server's own page of it takes the place of what was shown meanwhile.
"use strict";

(function () {
  const RETRY = 2000; // milliseconds until a server that was away is asked again
  const ENDS = ["run_finished", "run_failed", "run_cancelled", "run_waiting"];
  const MARKS = { running: "\u25b6", finished: "\u2713", skipped: "\u21b7", failed: "\u2717" };
  const STATES = {
    node_started: "running",
    node_finished: "finished",
    node_skipped: "skipped",
    node_failed: "failed",
  };

  function follow(live) {
    const answer = live.querySelector(".answer");
    const steps = live.querySelector(".steps");
    const source = new EventSource(live.dataset.events);
    answer.textContent = "";

    function on(name, act) {
      source.addEventListener(name, (event) => {
        if (!live.isConnected) source.close();
        else if (event.data) act(JSON.parse(event.data));
      });
    }

    function stepOf(node) {
      let step = Array.from(steps.children).find((each) => each.dataset.step === node);
      if (!step) {
        step = document.createElement("li");
        step.dataset.step = node;
        steps.append(step);
      }
      return step;
    }

    function tell(event, text) {
      const step = stepOf(event.node);
      let status = step.querySelector(".status");
      if (!status) {
        const name = document.createElement("span");
        name.className = "id";
        name.textContent = event.node;
        status = document.createElement("span");
        status.className = "status";
        step.replaceChildren(name, " ", status);
      }
      status.textContent = text;
    }

    function add(event, text) {
      const line = document.createElement("span");
      line.className = "quiet";
      line.textContent = text;
      stepOf(event.node).append(document.createElement("br"), line);
    }

    function mark(event) {
      const declared = event.node.replace(/\[\d+\]/g, "");
      for (const node of document.querySelectorAll("[data-drawing] [data-node]")) {
        if (node.dataset.node !== declared) continue;
        for (const name of Array.from(node.classList)) {
          if (name.startsWith("state-")) node.classList.remove(name);
        }
        const state = STATES[event.event];
        node.classList.add("state-" + state);
        const sign = node.querySelector(".mark");
        if (sign) sign.textContent = MARKS[state];
      }
    }

    on("token", (event) => {
      if (event.answer) answer.append(event.text);
    });
    on("answer_reset", () => {
      answer.textContent = "";
    });
    on("node_started", (event) => {
      mark(event);
      tell(event, event.attempt > 1 ? "runs, attempt " + event.attempt : "runs");
    });
    on("node_finished", (event) => {
      mark(event);
      const choices = event.record.choice;
      tell(event, choices === null ? "done" : "done: " + [].concat(choices).join(", "));
    });
    on("node_skipped", (event) => {
      mark(event);
      tell(event, "skipped: " + event.because);
    });
    on("node_failed", (event) => {
      mark(event);
      tell(event, "failed: " + event.error);
    });
    on("node_retried", (event) => {
      add(event, "failed, and is tried again: " + event.error);
    });
    on("tool_called", (event) => {
      add(event, "calls " + event.tool + " " + event.arguments.slice(0, 200));
    });
    on("tool_answered", (event) => {
      add(event, event.tool + " " + event.status + ": " + event.result.slice(0, 200));
    });
    for (const name of ENDS) {
      on(name, () => {
        source.close();
        load(live);
      });
    }
    // A connection that is lost comes back by itself, with the id of the last event that it had.
    // One that is refused is closed, as is one after an event `error` of the server.
    source.addEventListener("error", (event) => {
      if (event.data || source.readyState === EventSource.CLOSED) {
        source.close();
        setTimeout(() => load(live), RETRY);
      }
    });
  }

  function load(live) {
    if (!live.isConnected) return;
    const region = "#" + live.closest("#chat, #run").id;
    htmx.ajax("GET", live.dataset.page, { target: region, select: region, swap: "outerHTML" });
  }

  document.addEventListener("htmx:sendError", () => {
    const live = document.querySelector("[data-events]");
    if (live) setTimeout(() => load(live), RETRY);
  });

  htmx.onLoad((content) => {
    const found = Array.from(content.querySelectorAll("[data-events]"));
    if (content.matches("[data-events]")) found.push(content);
    found.forEach(follow);
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    const form = event.detail.elt;
    if (form.id === "say" && event.detail.successful) form.reset();
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    if (event.target.id !== "message" || !event.target.value.trim()) return;
    event.preventDefault();
    event.target.form.requestSubmit();
  });
})();
