// Runs every scenario of a wasm32 module, each in an instance of its own, and tells the outcome.
//
// Before that it runs the module's planted failure: a runner that does not notice it proves nothing.
// Usage: node run.mjs MODULE.wasm
import { readFile } from "node:fs/promises";

const path = process.argv[2];
if (path === undefined) {
  console.error("usage: node run.mjs MODULE.wasm");
  process.exit(2);
}
const module = await WebAssembly.compile(await readFile(path));

const imports = WebAssembly.Module.imports(module);
if (imports.length > 0) {
  const names = imports.map(({ module, name }) => `${module}.${name}`).join(", ");
  console.error(`the module asks its host for ${names}; the inline form must need nothing`);
  process.exit(1);
}

const text = (exports, start, bytes) =>
  new TextDecoder().decode(new Uint8Array(exports.memory.buffer, start, bytes));

// The fault of one run in a fresh instance, or null.
const fault = async (run) => {
  const { exports } = await WebAssembly.instantiate(module, {});
  try {
    run(exports);
    return null;
  } catch (error) {
    const bytes = exports.panic_message_bytes();
    return bytes > 0 ? text(exports, exports.panic_message(), bytes) : String(error);
  }
};

const planted = await fault((exports) => exports.planted_failure());
if (planted === null || !planted.includes("planted failure")) {
  console.error(`the planted failure was not seen (${planted}): this runner proves nothing`);
  process.exit(1);
}
console.log("planted failure ... seen");

const { exports: listing } = await WebAssembly.instantiate(module, {});
let passed = 0;
let failed = 0;
for (let index = 0; index < listing.scenario_count(); index += 1) {
  const name = text(listing, listing.scenario_name(index), listing.scenario_name_bytes(index));
  const told = await fault((exports) => exports.scenario_run(index));
  if (told === null) {
    passed += 1;
    console.log(`scenario ${name} ... ok`);
  } else {
    failed += 1;
    console.log(`scenario ${name} ... FAILED\n${told}`);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
