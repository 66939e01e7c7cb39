// Module types by user rules: more globs, and a rule that replaces the defaults of its type.
import readme from "./readme.md";
import script from "./texts/script.js";
import raw from "./pixel.raw";
import bin from "./still.bin";
import json from "./data.json";
import { answer, caught } from "./probe.js";

const probes = {
  text: () => readme,
  scriptAsText: () => script,
  data: () => raw,
  defaultDataKept: () => bin,
  json: () => json,
  defaultTextReplaced: () => caught(() => import("./plain.txt")),
};
export default { fetch: () => answer(probes) };
