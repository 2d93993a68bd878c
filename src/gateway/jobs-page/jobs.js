/** The frame around bull-board: asks once a second for the waiting room and the newest outcomes. Text is set as text only. */
const byId = (id) => document.getElementById(id);
const seconds = (ms) => (ms === null ? "–" : `${(ms / 1000).toFixed(1)} s`);

async function ask(path) {
  const response = await fetch(path, { headers: { accept: "application/json" } });
  const body = await response.json();
  if (!response.ok) throw new Error(body.error?.message ?? `status ${response.status}`);
  return body;
}

function row(task) {
  const tr = document.createElement("tr");
  const score = task.score === null ? "–" : task.score.toFixed(2);
  for (const text of [
    task.cameraId ?? "–",
    task.groupIndex ?? "–",
    score,
    seconds(task.ageMs),
    seconds(task.remainingMs),
  ]) {
    const td = document.createElement("td");
    td.textContent = String(text);
    tr.append(td);
  }
  return tr;
}

function crop(path) {
  if (path === null) return Object.assign(document.createElement("span"), { className: "no-crop" });
  const image = Object.assign(document.createElement("img"), { src: path, alt: "", loading: "lazy" });
  image.addEventListener("error", () => image.replaceWith(crop(null)));
  return image;
}

function item({ result, imagePath }) {
  const li = document.createElement("li");
  li.dataset.key = `${result.taskId} ${result.revision}`;
  const text = document.createElement("div");
  const verdict = result.results[0];
  const what = Object.assign(document.createElement("p"), { className: "what" });
  const made = result.metadata.simulated && verdict ? " (simulated)" : "";
  what.textContent = `${result.cameraId} · group ${result.groupIndex}: ${verdict ? verdict.riskLevel : result.outcome}${made}`;
  const why = Object.assign(document.createElement("p"), { className: "why" });
  why.textContent = verdict?.description ?? result.error?.message ?? result.outcome;
  text.append(what, why);
  li.append(crop(imagePath), text);
  return li;
}

function drawWaiting({ counts, tasks }) {
  byId("counts").textContent = `${counts.waiting} waiting, ${counts.moving + counts.calling} under way`;
  byId("waiting").replaceChildren(...tasks.map(row));
  byId("waiting-empty").hidden = tasks.length > 0;
}

/** Keeps the lines that stay, so that crops do not flicker. */
function drawOutcomes({ outcomes }) {
  const known = new Map([...byId("outcomes").children].map((li) => [li.dataset.key, li]));
  byId("outcomes").replaceChildren(
    ...outcomes.map((outcome) => known.get(`${outcome.result.taskId} ${outcome.result.revision}`) ?? item(outcome)),
  );
}

async function refresh() {
  try {
    const [waiting, outcomes] = await Promise.all([ask("/api/waiting?limit=30"), ask("/api/outcomes?limit=30")]);
    drawWaiting(waiting);
    drawOutcomes(outcomes);
    byId("state").textContent = "";
    document.body.dataset.loaded = "true";
  } catch (error) {
    byId("state").textContent = `Not up to date: ${error.message}`;
  }
  setTimeout(refresh, document.hidden ? 5_000 : 1_000);
}

// It scrolls by itself, so that the keyboard must reach it.
byId("beside").tabIndex = 0;
refresh();
