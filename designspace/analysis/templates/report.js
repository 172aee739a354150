
// The interactive part of a report: filter, scatter plot, one network, table, and names at the steps of the EDF.
// What it shows is the JSON in #trials, column by column. It enters the page as text nodes, never as markup.
(() => {
"use strict";
const data = JSON.parse(document.getElementById("trials").textContent);
const columns = new Map(data.columns.map((column) => [column.key, column]));
const place = new Map(data.runs.map((run, index) => [run.name, index]));
const every = columns.get("id").values.map((_, trial) => trial);
const at = (id) => document.getElementById(id);
const value = (key, trial) => (columns.has(key) ? columns.get(key).values[trial] : null);
const isError = (key) => columns.get(key).format === "error";
const failed = (trial) => value("status", trial) === "failed";
const runOf = (trial) => data.runs[place.get(value("run", trial))];
const state = { shown: every, chosen: null, pointed: null, sortKey: null, ascending: true, limit: 100 };

// --- Elements and texts ---------------------------------------------------------------------------------------------

function fill(element, attributes, children) {
  for (const [name, setting] of Object.entries(attributes)) element.setAttribute(name, setting);
  element.append(...children); // strings become text nodes
  return element;
}
const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function quantity(number) { // three digits and a unit prefix, as in the tables
  for (const [factor, prefix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (number >= 0.9995 * factor) {
      const scaled = number / factor;
      return `${scaled.toFixed(scaled < 9.995 ? 2 : scaled < 99.95 ? 1 : 0)} ${prefix}`;
    }
  }
  return String(+number.toPrecision(3));
}

function duration(seconds) {
  if (seconds < 60) return `${+seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  for (const [unit, size, smaller, part] of [["d", 86400, "h", 3600], ["h", 3600, "min", 60], ["min", 60, "s", 1]]) {
    if (whole >= size) return `${Math.floor(whole / size)} ${unit} ${Math.floor((whole % size) / part)} ${smaller}`;
  }
  return `${whole} s`;
}

const formats = {
  text: (words) => words, error: (number) => number.toFixed(2), whole: String,
  real: (number) => String(+number.toPrecision(5)), quantity, seconds: duration,
};
function shown(key, trial) { // a value as text; empty where there is none
  const found = value(key, trial);
  return found === null ? "" : formats[columns.get(key).format](found);
}
function outcome(trial) {
  if (failed(trial)) return `failed: ${value("reason", trial)}`;
  return value("status", trial) === "done" ? `error ${shown("error", trial)}%` : value("status", trial);
}
const called = (trial) => `${value("run", trial)} ${value("id", trial)}`;

// --- Filter ---------------------------------------------------------------------------------------------------------

const tests = {
  "=": (a, b) => a === b, "!=": (a, b) => a !== b, "~": (a, b) => a.includes(b),
  "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b,
};
tests["=="] = tests["="];
const textKeys = data.columns.filter((column) => column.format === "text").map((column) => column.key);
const texts = every.map((trial) => textKeys.map((key) => value(key, trial)).join("\n").toLowerCase());

function columnOf(name) {
  const wanted = name.toLowerCase();
  const found = columns.get(name)
    ?? data.columns.find((one) => one.key.toLowerCase() === wanted || one.name.toLowerCase() === wanted);
  if (!found) throw new Error(`There is no column “${name}”; there is: ${[...columns.keys()].join(", ")}.`);
  return found;
}

function numberOf(text) {
  const parts = /^([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([kMGT%]?)$/i.exec(text);
  return parts && parts[1] * ({ k: 1e3, m: 1e6, g: 1e9, t: 1e12 }[parts[2].toLowerCase()] ?? 1);
}

// The conditions of a filter as functions of a trial. Raises an Error that says what cannot be understood.
function conditions(text) {
  const clauses = [[]];
  for (const [whole, double, single, sign, word] of
    text.matchAll(/"([^"]*)"|'([^']*)'|([<>!=]=|[<>=~])|([^\s<>=~!,&"']+|[!&"'])|,/g)) {
    const quoted = double ?? single;
    if (quoted === undefined && (whole === "," || whole === "&" || /^and$/i.test(whole))) clauses.push([]);
    else clauses.at(-1).push(sign ? { sign } : { text: quoted ?? word });
  }
  return clauses.filter((clause) => clause.length).map(condition);
}

function condition(clause) {
  const signs = clause.filter((part) => part.sign);
  const words = (parts) => parts.map((part) => part.text).join(" ");
  if (!signs.length) {
    const wanted = words(clause).toLowerCase();
    return (trial) => texts[trial].includes(wanted);
  }
  if (signs.length > 1) throw new Error("One comparison at a time: write “error > 10 and error < 20”.");
  const middle = clause.indexOf(signs[0]);
  const [name, right, sign] = [words(clause.slice(0, middle)), words(clause.slice(middle + 1)), signs[0].sign];
  if (!name) throw new Error(`A column is missing before “${sign}”.`);
  const column = columnOf(name);
  if (middle === clause.length - 1) throw new Error(`A value is missing after “${name} ${sign}”.`);
  if (column.format === "text") {
    if (!["=", "==", "!=", "~"].includes(sign)) throw new Error(`“${name}” holds words: use =, != or ~, not ${sign}.`);
    return (trial) => tests[sign](column.values[trial].toLowerCase(), right.toLowerCase());
  }
  const number = numberOf(right);
  if (sign === "~" || number === null) throw new Error(`“${name}” holds numbers: “${sign} ${right}” does not fit.`);
  return (trial) => column.values[trial] !== null && tests[sign](column.values[trial], number);
}

function filter() {
  const input = at("expression");
  let wanted = [];
  try {
    wanted = conditions(input.value);
    at("problem").textContent = "";
  } catch (error) { // what is shown stays as it is
    at("problem").textContent = `${error.message} Nothing was changed.`;
  }
  input.setAttribute("aria-invalid", String(Boolean(at("problem").textContent)));
  if (at("problem").textContent) return;
  state.shown = every.filter((trial) => wanted.every((holds) => holds(trial)));
  state.limit = 100;
  sort();
  drawScatter();
}

// --- Tables ---------------------------------------------------------------------------------------------------------

// Heads of a table become buttons; `order(column, ascending)` is called to sort.
function sortable(heads, order) {
  heads.forEach((head, index) => {
    const button = html("button", { type: "button" }, ...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      order(index, ascending);
    });
  });
}

// Ascending or descending, with blanks last in either order, and equal ones as they were.
function compare(a, b, ascending) {
  const blank = (one) => one === null || one === "";
  if (blank(a) || blank(b)) return blank(a) - blank(b);
  return (a < b ? -1 : a > b ? 1 : 0) * (ascending ? 1 : -1);
}

function cellValue(text) { // the number in a cell such as "5.16 M", "2 min 5 s" or "+1.20"; else its text
  const times = { d: 86400, h: 3600, min: 60, s: 1 };
  const parts = [...text.matchAll(/(\d+) (d|h|min|s)\b/g)];
  if (parts.length) return parts.reduce((sum, [, count, unit]) => sum + count * times[unit], 0);
  return text === "-" ? null : numberOf(text.trim()) ?? text;
}

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  sortable([...table.tHead.rows[0].cells], (index, ascending) => {
    const rows = [...body.rows].map((row) => [cellValue(row.cells[index].textContent), row]);
    const words = rows.some(([one]) => typeof one === "string"); // then all are words
    const key = ([one, row]) => (words && one !== null ? row.cells[index].textContent : one);
    body.append(...rows.sort((a, b) => compare(key(a), key(b), ascending)).map(([, row]) => row));
  });
}

const keys = [...columns.keys()];
const headRow = html("tr", {}, ...keys.map((key) => {
  const { help, format } = columns.get(key);
  return html("th", { scope: "col", class: format === "text" ? "text" : "number", title: help },
    format === "error" ? `${key}, %` : key);
}));
at("trials-table").tHead.append(headRow);
sortable([...headRow.cells], (index, ascending) => {
  Object.assign(state, { sortKey: keys[index], ascending });
  sort();
});

function sort() {
  const { sortKey, ascending } = state;
  state.rows = sortKey === null ? state.shown
    : [...state.shown].sort((a, b) => compare(value(sortKey, a), value(sortKey, b), ascending) || a - b);
  fillTable();
}

function fillTable() {
  const rows = state.rows.slice(0, state.limit).map((trial) => {
    const row = html("tr", { "data-trial": trial }, ...keys.map((key) => {
      const text = shown(key, trial);
      if (key === "id") return html("td", { class: "text" }, html("button", { type: "button", class: "id" }, text));
      const kind = columns.get(key).format === "text" ? (text.length > 40 ? "text long" : "text") : "number";
      return html("td", { class: kind }, text);
    }));
    row.classList.toggle("chosen", trial === state.chosen);
    return row;
  });
  at("trials-table").tBodies[0].replaceChildren(...rows);
  const cut = rows.length < state.rows.length;
  const which = state.rows.length === every.length ? `All ${every.length} trials`
    : `${state.rows.length} of ${every.length} trials match the filter`;
  at("count").textContent = `${which}${cut ? `; the table shows the first ${rows.length}` : ""}.`;
  at("more").hidden = !cut;
  at("more").textContent = `Show all ${state.rows.length} rows`;
}

// --- Charts ---------------------------------------------------------------------------------------------------------

function linear(low, high, from, to) {
  if (low === high) [low, high] = [low - (Math.abs(low) * 0.1 || 1), high + (Math.abs(high) * 0.1 || 1)];
  const count = Math.max(2, Math.abs(to - from) / 70); // ticks, so far apart in pixels
  const power = 10 ** Math.floor(Math.log10((high - low) / count));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= (high - low) / count);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high; k += 1) ticks.push(+(k * step).toPrecision(12));
  return { low, high, ticks, at: (number) => from + ((number - low) / (high - low)) * (to - from) };
}

function logarithmic(low, high, from, to) {
  const inner = linear(Math.log(low), Math.log(high), from, to);
  const factors = high / low > 300 ? [1] : high / low > 30 ? [1, 3] : [1, 2, 5];
  const powers = Array.from({ length: 40 }, (_, power) => 10 ** (power - 20));
  const ticks = powers.flatMap((power) => factors.map((factor) => factor * power));
  return { ticks: ticks.filter((tick) => tick >= low && tick <= high), at: (number) => inner.at(Math.log(number)) };
}

// Grid, ticks and names of the axes. `box` holds the ends of the axes in pixels.
function frame(chart, box, x, y, xName, yName) {
  const label = (number) => (number >= 1000 ? quantity(number) : String(number));
  for (const tick of x.ticks) {
    chart.append(svg("line", { class: "grid", x1: x.at(tick), x2: x.at(tick), y1: box.top, y2: box.bottom }),
      svg("text", { x: x.at(tick), y: box.bottom + 16, "text-anchor": "middle" }, label(tick)));
  }
  for (const tick of y.ticks) {
    chart.append(svg("line", { class: "grid", x1: box.left, x2: box.right, y1: y.at(tick), y2: y.at(tick) }),
      svg("text", { x: box.left - 6, y: y.at(tick) + 4, "text-anchor": "end" }, label(tick)));
  }
  const middle = (box.top + box.bottom) / 2;
  chart.append(svg("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
    svg("text", { x: (box.left + box.right) / 2, y: box.bottom + 34, "text-anchor": "middle" }, xName),
    svg("text", { x: 12, y: middle, transform: `rotate(-90 12 ${middle})`, "text-anchor": "middle" }, yName));
}

const paths = { o: "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0Z", s: "M-4 -4H4V4H-4Z", "^": "M0 -5L5 4H-5Z",
  D: "M0 -5.5L5.5 0L0 5.5L-5.5 0Z", v: "M0 5L5 -4H-5Z" };
const cross = "M-4 -4L4 4M4 -4L-4 4";
const markerOf = (run, attributes = {}) => svg("path", { class: "point", d: paths[run.marker], fill: run.colour, ...attributes });

function showTip(plot, lines, left, top) {
  const tip = plot.querySelector(".tip") ?? plot.appendChild(html("div", { class: "tip" }));
  tip.replaceChildren(...lines.map((line) => html("div", {}, line)));
  tip.hidden = false;
  tip.style.left = `${Math.max(0, Math.min(left + 12, plot.clientWidth - tip.offsetWidth))}px`;
  tip.style.top = `${top > tip.offsetHeight + 14 ? top - tip.offsetHeight - 12 : top + 14}px`;
}
function hideTip(plot) {
  const tip = plot.querySelector(".tip");
  if (tip) tip.hidden = true;
}

// --- Scatter plot ---------------------------------------------------------------------------------------------------

let points = []; // {trial, x, y} in pixels, from left to right
let overlay = null; // rings around the chosen and the pointed network

function drawScatter() {
  const plot = at("scatter"), focused = plot.contains(document.activeElement);
  const [xKey, yKey] = [at("axis-x").value, at("axis-y").value];
  const ended = (trial) => ["done", "failed"].includes(value("status", trial));
  const height = (trial) => (isError(yKey) && failed(trial) ? data.chance : value(yKey, trial));
  const drawn = state.shown.filter((trial) => ended(trial) && value(xKey, trial) !== null && height(trial) !== null);
  // The axis is that of all trials, whatever the filter shows; what lies far above it has a strip of its own.
  const range = (numbers) => numbers.reduce(([low, high], one) => [Math.min(low, one), Math.max(high, one)], [Infinity, -Infinity]);
  const known = every.filter((trial) => ended(trial) && value(xKey, trial) !== null);
  const xs = known.map((trial) => value(xKey, trial));
  const [low, high] = xs.length ? range(xs) : [0, 1];
  const heights = known.map((trial) => value(yKey, trial)).filter((one) => one !== null);
  let [least, most] = heights.length ? range(heights) : [0, 1];
  if (isError(yKey)) [least, most] = [Math.min(least, data.limits[0]), data.limits[1]];
  const above = (trial) => isError(yKey) && (failed(trial) || height(trial) > most);
  const strip = known.some((trial) => height(trial) !== null && above(trial)) ? 30 : 0;
  const box = { left: 52, right: plot.clientWidth - 12, top: 10 + strip, bottom: (plot.clientWidth < 480 ? 320 : 420) - 42 };
  const distinct = new Set(xs);
  const whole = distinct.size <= 20 && xs.every(Number.isInteger);
  const log = low > 0 && high / low >= 20;
  const x = (log ? logarithmic : linear)(low, high, box.left + 16, box.right - 16);
  if (distinct.size <= 8) x.ticks = [...distinct].sort((a, b) => a - b);
  const y = linear(least, most, box.bottom - 8, box.top + 8);
  const chart = svg("svg", { class: "chart", width: plot.clientWidth, height: box.bottom + 42, tabindex: 0, role: "application",
    "aria-label": `${yKey} against ${xKey}, ${drawn.length} networks. Left and right arrow keys go from one to the next, Enter shows it.` });
  const percent = isError(yKey) ? ", %" : "";
  frame(chart, box, x, y, xKey + (log ? " (log scale)" : ""), yKey + percent);
  if (strip) {
    chart.append(svg("rect", { class: "strip", x: box.left, y: 6, width: box.right - box.left, height: 28 }),
      svg("text", { x: box.left - 6, y: 24, "text-anchor": "end" }, `${data.chance}`));
  }
  const spread = whole ? Math.min(12, (box.right - box.left) / distinct.size / 4) : 0;
  points = drawn.map((trial) => ({ // equal numbers lie beside each other, each always at its own place
    trial, x: x.at(value(xKey, trial)) + spread * (((trial * 0.618034) % 1) * 2 - 1), y: above(trial) ? 20 : y.at(height(trial)),
  })).sort((a, b) => a.x - b.x || a.trial - b.trial);
  for (const point of points) {
    const run = runOf(point.trial), transform = `translate(${point.x.toFixed(1)} ${point.y.toFixed(1)})`;
    chart.append(failed(point.trial)
      ? svg("path", { class: "point failed", d: cross, stroke: run.colour, transform, "data-trial": point.trial })
      : markerOf(run, { transform, "data-trial": point.trial }));
  }
  overlay = chart.appendChild(svg("g"));
  plot.replaceChildren(chart);
  if (focused) chart.focus();
  const beyond = drawn.filter(above).length, missing = state.shown.length - drawn.length;
  at("scatter-note").textContent = [
    beyond ? `Grey strip: failed trials (×, at chance level, ${data.chance}%) and errors above ${most.toFixed(1)}%.` : "",
    spread ? `Networks of one ${xKey} are spread a little sideways.` : "",
    missing ? `${missing} trials are not drawn: they have not ended, or have no ${xKey} or ${yKey}.` : "",
  ].filter(Boolean).join(" ");
  mark();
}

function mark() { // rings around the chosen and the pointed network
  if (!overlay) return;
  const ring = (trial, name) => points.filter((point) => point.trial === trial)
    .map((point) => svg("circle", { class: name, cx: point.x, cy: point.y, r: 9 }));
  overlay.replaceChildren(...ring(state.chosen, "ring"), ...ring(state.pointed, "pointer"));
}

function point(trial) { // show which network that is, or none
  const found = points.find((one) => one.trial === trial);
  state.pointed = found ? trial : null;
  mark();
  if (!found) return hideTip(at("scatter"));
  const key = at("axis-x").value;
  showTip(at("scatter"), [called(trial), outcome(trial), `${key} ${shown(key, trial)}`], found.x, found.y);
}

function nearest(event, reach) { // the network nearest to the pointer, if one is near
  const chart = at("scatter").querySelector("svg").getBoundingClientRect();
  let best = null, least = reach;
  for (const one of points) {
    const distance = Math.hypot(one.x - event.clientX + chart.left, one.y - event.clientY + chart.top);
    if (distance < least) [best, least] = [one.trial, distance];
  }
  return best;
}

at("scatter").addEventListener("pointermove", (event) => point(nearest(event, 22)));
at("scatter").addEventListener("pointerleave", () => point(null));
at("scatter").addEventListener("focusout", () => point(null));
at("scatter").addEventListener("click", (event) => {
  const trial = nearest(event, 30);
  if (trial !== null) choose(trial);
});
at("scatter").addEventListener("keydown", (event) => {
  const now = points.findIndex((one) => one.trial === (state.pointed ?? state.chosen));
  const to = { ArrowRight: now + 1, ArrowUp: now + 1, ArrowLeft: now - 1, ArrowDown: now - 1, Home: 0, End: points.length - 1 }[event.key];
  if (to !== undefined && points.length) point(points[Math.max(0, Math.min(to, points.length - 1))].trial);
  else if ((event.key === "Enter" || event.key === " ") && state.pointed !== null) choose(state.pointed);
  else if (event.key === "Escape") point(null);
  else return;
  event.preventDefault();
});

// --- One network ----------------------------------------------------------------------------------------------------

function choose(trial) {
  state.chosen = trial;
  for (const row of at("trials-table").tBodies[0].rows) row.classList.toggle("chosen", Number(row.dataset.trial) === trial);
  mark();
  const stages = data.stages.filter((stage) => value(`d${stage}`, trial) > 0);
  const stageKey = /^[dwbg]\d+$/;
  const facts = keys.filter((key) => !stageKey.test(key) && !["run", "id", "reason", "detail"].includes(key) && shown(key, trial) !== "");
  const reason = [value("reason", trial), value("detail", trial)].filter(Boolean).join(": ");
  at("network").replaceChildren(
    html("h3", {}, called(trial)),
    ...(failed(trial) ? [html("p", { class: "failed" }, `Failed: ${reason}`)] : []),
    html("h4", {}, "Width of each block"), staircase(trial, stages), stageTable(trial, stages),
    html("h4", {}, "Learning curve"), curve(data.histories[trial]),
    html("dl", {}, ...facts.map((key) => html("div", { title: columns.get(key).help }, html("dt", {}, key),
      html("dd", {}, shown(key, trial) + (isError(key) ? "%" : ""))))),
  );
}

function stageTable(trial, stages) {
  const names = { d: "depth d", w: "width w", b: "bottleneck b", g: "group width g" };
  const row = (letter) => html("tr", {}, html("th", { scope: "row", class: "text" }, names[letter]),
    ...stages.map((stage) => html("td", {}, shown(`${letter}${stage}`, trial))));
  const head = html("tr", {}, html("th", { class: "text" }, "stage"), ...stages.map((stage) => html("th", { scope: "col" }, String(stage))));
  return html("div", { class: "scroll" }, html("table", {}, html("thead", {}, head), html("tbody", {}, ..."dwbg".split("").map(row))));
}

// A bar for each block, as high as it is wide; stages in turn light and dark.
function staircase(trial, stages) {
  const blocks = stages.flatMap((stage) => Array(value(`d${stage}`, trial)).fill({ stage, width: value(`w${stage}`, trial) }));
  const box = { left: 52, right: 350, top: 18, bottom: 150 };
  const chart = svg("svg", { class: "chart staircase", viewBox: "0 0 360 190", role: "img", "aria-label":
    `Widths of ${blocks.length} blocks: ${stages.map((stage) => `${value(`d${stage}`, trial)} of ${value(`w${stage}`, trial)}`).join(", ")}` });
  const x = linear(0.5, blocks.length + 0.5, box.left, box.right);
  const y = linear(0, Math.max(...blocks.map((block) => block.width)), box.bottom, box.top);
  x.ticks = x.ticks.filter((tick) => Number.isInteger(tick) && tick > 0);
  frame(chart, box, x, y, "block", "width, channels");
  blocks.forEach(({ stage, width }, block) => chart.append(svg("rect", { class: stage % 2 ? "bar" : "bar odd",
    x: x.at(block + 0.5), y: y.at(width), width: x.at(1) - x.at(0), height: box.bottom - y.at(width) })));
  let before = 0;
  for (const stage of stages) {
    const [depth, width] = [value(`d${stage}`, trial), value(`w${stage}`, trial)];
    if (x.at(depth) - x.at(0) > 22) { // else there is no room; the table has it
      chart.append(svg("text", { x: x.at(before + (depth + 1) / 2), y: y.at(width) - 4, "text-anchor": "middle" }, String(width)));
    }
    before += depth;
  }
  return chart;
}

// Errors over the epochs: of the test images solid with dots, of the training images dashed.
function curve(history) {
  if (!history) return html("p", { class: "small" }, "No epochs are recorded for this network.");
  const [epochs, test, train] = history;
  const box = { left: 52, right: 350, top: 24, bottom: 150 };
  const chart = svg("svg", { class: "chart curve", viewBox: "0 0 360 190", role: "img",
    "aria-label": `Test error after each epoch, per cent: ${test.join(", ")}` });
  const x = linear(Math.min(...epochs) - 0.3, Math.max(...epochs) + 0.3, box.left, box.right);
  x.ticks = x.ticks.filter(Number.isInteger);
  const y = linear(0, Math.max(...test, ...train), box.bottom, box.top);
  frame(chart, box, x, y, "epoch", "error, %");
  const line = (errors) => errors.map((error, i) => [error, i]).filter(([error]) => error !== null)
    .map(([error, i]) => `${x.at(epochs[i]).toFixed(1)},${y.at(error).toFixed(1)}`).join(" ");
  const [dark, light] = [{ stroke: "#0072B2", fill: "none", "stroke-width": 2 }, { stroke: "#D55E00", fill: "none", "stroke-width": 1.6, "stroke-dasharray": "5 3" }];
  chart.append(svg("polyline", { points: line(train), ...light }), svg("polyline", { points: line(test), ...dark }));
  test.forEach((error, i) => error !== null && chart.append(svg("circle", { cx: x.at(epochs[i]), cy: y.at(error), r: 3, fill: "#0072B2" })));
  chart.append(svg("line", { x1: 180, x2: 206, y1: 9, y2: 9, ...dark }), svg("text", { x: 211, y: 13 }, "test"),
    svg("line", { x1: 258, x2: 284, y1: 9, y2: 9, ...light }), svg("text", { x: 289, y: 13 }, "training"));
  return chart;
}

// --- Names at the steps of the EDF ----------------------------------------------------------------------------------

function nameSteps(plot, area) {
  const picture = plot.querySelector("svg"), view = picture.viewBox.baseVal;
  const curves = data.runs.map((run) => every.filter((trial) => value("run", trial) === run.name)
    .filter((trial) => value("status", trial) === "done" || (failed(trial) && data.failures === "chance"))
    .map((trial) => ({ trial, error: failed(trial) ? data.chance : value("error", trial) }))
    .sort((a, b) => a.error - b.error)).map((steps, index) => ({ run: data.runs[index], steps })).filter(({ steps }) => steps.length);
  const cursor = picture.appendChild(svg("line", { class: "cursor", y1: area.top * view.height, y2: area.bottom * view.height, visibility: "hidden" }));
  const find = (event) => { // error below the pointer, networks up to it, and the step that is nearest
    const size = picture.getBoundingClientRect();
    const [across, down] = [(event.clientX - size.left) / size.width, (event.clientY - size.top) / size.height];
    const right = (across - area.left) / (area.right - area.left), up = (area.bottom - down) / (area.bottom - area.top);
    if (right < 0 || right > 1 || up < 0 || up > 1 || !curves.length) return null;
    const error = area.low + right * (area.high - area.low), part = area.least + up * (area.most - area.least);
    const counts = curves.map(({ steps }) => steps.filter((step) => step.error <= error).length);
    const off = curves.map(({ steps }, i) => Math.abs(counts[i] / steps.length - part));
    const { run, steps } = curves[off.indexOf(Math.min(...off))];
    const step = steps.reduce((a, b) => (Math.abs(b.error - error) < Math.abs(a.error - error) ? b : a));
    return { error, counts, run, step, x: across * view.width, left: event.clientX - size.left, top: event.clientY - size.top };
  };
  plot.addEventListener("pointermove", (event) => {
    const found = find(event);
    cursor.setAttribute("visibility", found ? "visible" : "hidden");
    if (!found) return hideTip(plot);
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, found.x);
    showTip(plot, [`error at most ${found.error.toFixed(2)}%`,
      ...curves.map(({ run, steps }, i) => `${run.name}: ${((100 * found.counts[i]) / steps.length).toFixed(1)}% (${found.counts[i]} of ${steps.length})`),
      `nearest: ${called(found.step.trial)}, ${outcome(found.step.trial)}`], found.left, found.top);
  });
  plot.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    hideTip(plot);
  });
  plot.addEventListener("click", (event) => {
    const found = find(event);
    if (!found) return;
    choose(found.step.trial);
    at("network").scrollIntoView({ block: "center" });
  });
}

// --- Beginning ------------------------------------------------------------------------------------------------------

function begin() {
  at("explore").hidden = false;
  for (const axis of ["x", "y"]) {
    const varied = (column) => new Set(column.values.filter((one) => one !== null)).size > 1;
    const choices = data.columns.filter((column) => column.axis === axis && (varied(column) || column.key === "flops" || column.key === "error"));
    at(`axis-${axis}`).append(...choices.map((column) => html("option", { title: column.help }, column.key)));
    at(`axis-${axis}`).addEventListener("change", drawScatter);
  }
  at("legend").append(...data.runs.map((run) => html("li", {}, svg("svg", { width: 14, height: 14, viewBox: "-7 -7 14 14", "aria-hidden": "true" },
    markerOf(run)), `${run.name}: ${run.progress}`)));
  at("columns").append(...data.columns.map((column) => html("div", {}, html("dt", {}, column.key), html("dd", {}, column.help))));
  let wait;
  at("expression").addEventListener("input", () => {
    clearTimeout(wait);
    wait = setTimeout(filter, 250);
  });
  at("filter").addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(wait);
    filter();
  });
  at("clear").addEventListener("click", () => {
    at("expression").value = "";
    filter();
  });
  at("trials-table").addEventListener("click", (event) => {
    const row = event.target.closest("tbody tr");
    if (!row) return;
    choose(Number(row.dataset.trial));
    at("network").scrollIntoView({ block: "nearest" });
  });
  at("more").addEventListener("click", () => {
    state.limit = Infinity;
    fillTable();
  });
  sort();
  const best = every.filter((trial) => value("status", trial) === "done").sort((a, b) => value("error", a) - value("error", b));
  choose(best[0] ?? every[0]);
  let width = 0;
  new ResizeObserver(() => { // fires at once, too
    if (at("scatter").clientWidth !== width) drawScatter();
    width = at("scatter").clientWidth;
  }).observe(at("scatter"));
  nameSteps(at("plot-edf"), data.edf);
  const details = [...document.querySelectorAll("main details:not(#filter-help)")];
  addEventListener("beforeprint", () => details.forEach((one) => { one.dataset.was = one.open; one.open = true; }));
  addEventListener("afterprint", () => details.forEach((one) => { one.open = one.dataset.was === "true"; }));
}

begin();
})();
