#!/usr/bin/env node
// Compares perk's reading of a GGUF file with that of llama.cpp.
//
//   npm install --ignore-scripts node-llama-cpp      # once, in any folder above, or here
//   node scripts/check_llama_cpp.mjs MODEL.gguf [--tokens 64] [--tolerance 8e-2] [--program PATH] [--text FILE]...
//
// perk (examples/logits.rs, built here with cargo unless --program names it) and llama.cpp, on the CPU, each open the file by
// itself. Tokens of the texts below and of every --text must be the same, one by one. The logits behind the first --tokens of
// them may differ by the tolerance, a part of the largest one: llama.cpp rounds the other factor of products too, to 8 bits
// beside blocks. The exit code is 1 if anything differs by more. NODE_MODULES names the folder of the package if it is
// somewhere else.

import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { pathToFileURL } from "node:url";

const TEXTS = {
  prose: "It was the best of times, it was the worst of times; don't you think he'll say they're 'twas?\n\n  Yes.",
  code: "fn main() {\n    let x: Vec<u32> = (0..10).map(|i| i * i).collect();\n}\n\n\n# end\r\n",
  digits: "3.14159 1234567890 1,000,000 0x7f 2024-11-27T13:05:59Z",
  "other scripts": "東京は日本の首都です。안녕하세요 세계 Здравствуй, мир! مرحبا بالعالم Žluťoučký kůň",
  emoji: "I \u2764\ufe0f Rust \u{1f980} ok!",
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokens: { type: "string", default: "64" },
    tolerance: { type: "string", default: "8e-2" },
    program: { type: "string" },
    text: { type: "string", multiple: true, default: [] },
  },
});
if (positionals.length !== 1) {
  console.error("usage: check_llama_cpp.mjs MODEL.gguf [--tokens N] [--tolerance X] [--program PATH] [--text FILE]...");
  process.exit(2);
}

const texts = { ...TEXTS };
for (const file of values.text) texts[path.basename(file)] = fs.readFileSync(file, "utf8");

/** perk's tokens of each text, and its logits behind the first ones. */
function perk(model) {
  const room = fs.mkdtempSync(path.join(os.tmpdir(), "perk-"));
  try {
    const paths = Object.values(texts).map((text, nth) => {
      const file = path.join(room, String(nth));
      fs.writeFileSync(file, text);
      return file;
    });
    const cargo = ["cargo", "run", "--quiet", "--release", "--example", "logits", "--"];
    const [program, ...start] = values.program ? [values.program] : cargo;
    const out = path.join(room, "out");
    execFileSync(program, [...start, model, values.tokens, out, ...paths], { stdio: ["ignore", "ignore", "inherit"] });
    return tensors(fs.readFileSync(out));
  } finally {
    fs.rmSync(room, { recursive: true });
  }
}

/** The tensors of a safetensors file: int64 as numbers, f32 as they are. */
function tensors(bytes) {
  const length = Number(bytes.readBigUInt64LE(0));
  const found = {};
  for (const [name, { dtype, shape, data_offsets: [start, end] }] of Object.entries(JSON.parse(bytes.subarray(8, 8 + length)))) {
    if (name === "__metadata__") continue;
    const data = bytes.buffer.slice(bytes.byteOffset + 8 + length + start, bytes.byteOffset + 8 + length + end);
    found[name] = { shape, data: dtype === "I64" ? Array.from(new BigInt64Array(data), Number) : new Float32Array(data) };
  }
  return found;
}

const require = createRequire(path.join(process.env.NODE_MODULES ?? process.cwd(), "x.js"));
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(require.resolve("node-llama-cpp")));
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: path.resolve(positionals[0]), gpuLayers: 0 });
const most = Number(values.tokens);
const context = await model.createContext({ contextSize: Math.max(256, most + 8), threads: os.cpus().length });
const sequence = context.getSequence();

const found = perk(positionals[0]);
let failed = false;
const say = (passed, line) => {
  failed ||= !passed;
  console.log(`${passed ? "ok  " : "FAIL"} ${line}`);
};
for (const [nth, [name, text]] of Object.entries(texts).entries()) {
  const ids = found[`ids.${nth}`].data;
  const wanted = model.tokenize(text);
  const at = ids.findIndex((id, place) => id !== wanted[place]);
  const same = at < 0 && ids.length === wanted.length;
  say(same, `${name}: ${ids.length} tokens${same ? "" : `; from token ${at} on ${ids.slice(at, at + 8)}, expected ${wanted.slice(at, at + 8)}`}`);

  const { shape: [rows, width], data } = found[`logits.${nth}`];
  await sequence.clearHistory();
  const asked = Array.from(ids).slice(0, rows).map((id) => [id, { generateNext: { logits: true } }]);
  const answers = await sequence.controlledEvaluate(asked);
  let largest = 0;
  let off = 0;
  let agree = 0;
  answers.forEach(({ next: { logits } }, row) => {
    let [best, likeliest] = [-Infinity, -1];
    let [theirBest, theirLikeliest] = [-Infinity, -1];
    for (const [token, logit] of logits) {
      const own = data[row * width + token];
      largest = Math.max(largest, Math.abs(logit));
      off = Math.max(off, Math.abs(own - logit));
      if (own > best) [best, likeliest] = [own, token];
      if (logit > theirBest) [theirBest, theirLikeliest] = [logit, token];
    }
    agree += likeliest === theirLikeliest;
  });
  const part = off / largest;
  say(
    part <= Number(values.tolerance),
    `${name}: logits behind ${rows} tokens differ by at most ${part.toExponential(1)} of the largest, ${largest.toFixed(1)}; ` +
      `the likeliest token is the same behind ${((100 * agree) / rows).toFixed(0)}%`,
  );
}
await context.dispose();
await model.dispose();
process.exit(failed ? 1 : 0);
