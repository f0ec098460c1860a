// The page's beginning: fetch the facts, build the parts, tie them to one state.

import { buildControls } from "./controls.js";
import { Dvh } from "./dvh.js";
import { buildFindings } from "./findings.js";
import { buildKeys } from "./keys.js";
import { Pane } from "./pane.js";
import { buildStructures } from "./structures.js";
import { opening } from "./state.js";

async function start() {
  Bokeh.logger.set_level("warn");
  const answer = await fetch("/facts.json");
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const facts = await answer.json();
  const state = opening(facts);
  buildControls(facts, state);
  buildStructures(facts, state);
  buildFindings(facts, state);
  const panes = [0, 1, 2].map((n) => new Pane(document.getElementById(`pane-${n}`), n, facts, state));
  buildKeys(facts, state, panes);
  const dvh = new Dvh(document.getElementById("dvh"), facts, state);
  await Promise.all(panes.map((pane) => pane.build()));
  await dvh.build();
  state.listen((changed) => panes.forEach((pane) => pane.update(changed)));
  await Promise.all(panes.map((pane) => pane.update()));
  document.documentElement.dataset.ready = "yes";
}

start().catch((wrong) => {
  document.getElementById("status").textContent = `The page could not be built: ${wrong.message}`;
  throw wrong;
});
