// The findings of both arms, what is not evaluable, and the notices.

const byId = (id) => document.getElementById(id);

function cell(tag, text, kind = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

export function buildFindings(facts, state) {
  const about = (item) => [item.structure, item.metric, item.arm].filter(Boolean).join(" · ");
  lines("not-evaluable", facts.not_evaluable.map((item) => `${about(item)}: ${item.reason}`), "not evaluable");
  const words = (item) => `${item.code} (${item.severity}): ${item.message} ${item.action}`;
  lines("notices", facts.notices.map(words), "notices of the run");
  state.listen((changed) => {
    if (["arm", "other", "selected"].some((name) => changed.has(name))) table(facts, state);
    if (changed.has("near")) reflect(state);
  });
  table(facts, state);
}

function lines(id, texts, what) {
  byId(id).hidden = texts.length === 0;
  byId(id).querySelector("summary").textContent = `${texts.length} ${what}`;
  byId(id).querySelector("ul").append(...texts.map((text) => cell("li", text)));
}

function table(facts, state) {
  const selected = state.get("selected");
  const arms = [state.get("arm"), state.get("other")].filter((arm, n, all) => arm && all.indexOf(arm) === n);
  const rows = facts.findings.filter((row) => !selected || row.structure === selected);
  byId("findings-of").textContent = selected ? `of ${selected} (${rows.length})` : `(${rows.length})`;
  const head = document.createElement("tr");
  head.append(...(selected ? [] : [cell("th", "structure")]), cell("th", "metric and limit"));
  for (const arm of arms) head.append(cell("th", arm, "number"));
  const changes = arms.filter((arm) => facts.findings.some((row) => arm in row.changes));
  for (const arm of changes) head.append(cell("th", `${arm} − ${facts.doses?.reference ?? "ref."}`, "number"));
  const top = document.createElement("thead");
  top.append(head);
  const body = document.createElement("tbody");
  body.append(...rows.map((row) => line(row, arms, changes, facts, state)));
  byId("findings").replaceChildren(top, body);
}

function metricWords(row) {
  const limit = row.limit && ` ${row.limit}${row.verified ? "" : " (unverified)"}`;
  return `${row.metric}${limit}`;
}

function line(row, arms, changes, facts, state) {
  const made = document.createElement("tr");
  made.dataset.name = row.structure;
  if (!state.get("selected")) made.append(cell("th", row.structure || "–"));
  made.append(Object.assign(cell("td", metricWords(row)), { title: row.model }));
  for (const arm of arms) {
    const verdict = row.verdicts[arm] ?? "";
    const kind = verdict.includes("missed") ? " missed" : verdict.includes("met") ? " met" : "";
    const known = row.values[arm] !== undefined;
    const said = known ? `${row.values[arm]} ${row.unit}${verdict && ` ${verdict[0]}`}` : "n.e.";
    const why = row.missing[arm] ?? row.missing[""] ?? "not evaluated on this arm";
    made.append(Object.assign(cell("td", said, `number${kind}`), { title: known ? verdict : why }));
  }
  for (const arm of changes) made.append(cell("td", row.changes[arm] ?? "", "number"));
  made.addEventListener("pointerenter", () => state.set({ near: row.structure || null }));
  made.addEventListener("pointerleave", () => state.set({ near: null }));
  made.addEventListener("click", () => {
    const known = facts.structures.some((item) => item.name === row.structure);
    state.set({ selected: known && state.get("selected") !== row.structure ? row.structure : null });
  });
  return made;
}

function reflect(state) {
  const near = state.get("near");
  for (const row of byId("findings").tBodies[0].rows) row.classList.toggle("near", near !== null && row.dataset.name === near);
}
