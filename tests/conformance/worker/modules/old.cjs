module.exports = { kind: "cjs", seen: [typeof require, typeof module, typeof exports, exports === module.exports, typeof __filename, typeof __dirname] };
