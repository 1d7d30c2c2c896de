"use strict";

const $ = (id) => document.getElementById(id);
let token = sessionStorage.getItem("token") || "";
let working = null;

/** Asks the server; a fault is thrown as the server words it. */
async function call(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (options.body) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  $("entry").hidden = response.status !== 401;
  let reason = `${response.status} ${response.statusText}`;
  try { reason = (await response.json()).error.message; } catch { /* The status says it. */ }
  throw new Error(reason);
}

/** The data of a stream of events, one after another. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      if (data.length) yield data.join("\n");
    }
  }
}

function say(fault) {
  $("fault").textContent = fault ? fault.message : "";
  $("fault").hidden = !fault;
}

/** Runs work for a person: what goes wrong is shown. */
async function shown(work) {
  say(null);
  try { await work(); } catch (fault) { say(fault); }
}

async function listModels(chosen) {
  const { data } = await (await call("/v1/models")).json();
  const before = chosen || $("model").value;
  $("model").replaceChildren(...data.map(({ id }) => new Option(id, id)));
  if (data.some(({ id }) => id === before)) $("model").value = before;
}

async function memorise(name, text) {
  const plain = name.replace(/[^A-Za-z0-9_. -]/g, "-").slice(0, 80) || "text";
  const response = await call("/v1/memories", { method: "POST", body: JSON.stringify({ name: plain, text }) });
  const memory = await response.json();
  $("work").hidden = false;
  $("steps").tBodies[0].replaceChildren();
  if (memory.status === "ready") {
    $("progress").value = 1;
    $("status").textContent = "This text was memorised before.";
  } else {
    await follow(memory.id);
  }
  await listModels(memory.id);
  $("question").focus();
}

/** Shows what happens to a document, until it is a memory. */
async function follow(id) {
  working = id;
  let steps = 1;
  $("progress").value = 0;
  $("cancel").hidden = false;
  try {
    const response = await call(`/v1/memories/${encodeURIComponent(id)}/events`);
    for await (const data of events(response)) {
      const event = JSON.parse(data);
      switch (event.event) {
        case "queued": $("status").textContent = "Waiting…"; break;
        case "begun":
          steps = event.steps;
          $("status").textContent = `${event.tokens} tokens in ${event.segments} segments`;
          break;
        case "progress": $("progress").value = (event.step + event.share) / (steps + 1); break;
        case "step": addStep(event); break;
        case "ready":
          $("progress").value = 1;
          $("status").textContent += " are memorised.";
          return;
        case "failed": throw new Error(event.reason);
        case "cancelled": throw new Error("The encoding was stopped.");
      }
    }
    throw new Error("The server has gone away.");
  } finally {
    working = null;
    $("cancel").hidden = true;
  }
}

function addStep({ step, inner_loss, next_token_loss, tokens_per_sec }) {
  const row = $("steps").tBodies[0].insertRow();
  const numbers = [step + 1, inner_loss.toFixed(3), next_token_loss.toFixed(3), tokens_per_sec.toFixed(0)];
  for (const text of numbers) row.insertCell().textContent = text;
}

async function ask(model, question) {
  const title = document.createElement("dt");
  const answer = document.createElement("dd");
  title.textContent = question;
  $("answers").prepend(title, answer);
  const messages = [{ role: "user", content: question }];
  const body = JSON.stringify({ model, messages, stream: true });
  for await (const data of events(await call("/v1/chat/completions", { method: "POST", body }))) {
    if (data === "[DONE]") return;
    const part = JSON.parse(data);
    if (part.error) throw new Error(part.error.message);
    answer.textContent += part.choices[0]?.delta.content ?? "";
    for (const fact of part.perk?.support ?? []) {
      const support = document.createElement("dd");
      support.className = "support";
      support.textContent = `from: ${fact}`;
      answer.after(support);
    }
  }
}

const readFile = (file) => shown(async () => memorise(file.name, await file.text()));

$("file").addEventListener("change", ({ target }) => {
  if (target.files[0]) readFile(target.files[0]);
  target.value = "";
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) readFile(event.dataTransfer.files[0]);
  });
}
$("paste").addEventListener("submit", (event) => {
  event.preventDefault();
  shown(() => memorise($("name").value, $("text").value));
});
$("cancel").addEventListener("click", () => shown(async () => {
  if (working) await call(`/v1/memories/${encodeURIComponent(working)}`, { method: "DELETE" });
}));
$("forget").addEventListener("click", () => shown(async () => {
  await call(`/v1/memories/${encodeURIComponent($("model").value)}`, { method: "DELETE" });
  await listModels();
}));
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("question").value.trim();
  if (question) shown(() => ask($("model").value, question));
});
$("entry").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  sessionStorage.setItem("token", token);
  $("entry").hidden = true;
  shown(() => listModels());
});
shown(() => listModels());
