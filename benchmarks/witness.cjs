// Reads N faces of 112 x 112 x 3 bytes from FILE and prints what face-api's expression network says
// of each, as JSON: node witness.cjs FILE N, in a folder whose node_modules has the packages.
"use strict";
const fs = require("fs");
const path = require("path");
const { createRequire } = require("module");

const bring = createRequire(path.join(process.cwd(), "node_modules", "_"));
const [file, count] = [process.argv[2], Number(process.argv[3])];
const side = 112;

async function main() {
  const tf = bring("@tensorflow/tfjs");
  const wasm = bring("@tensorflow/tfjs-backend-wasm");
  const faces = bring("@vladmandic/face-api/dist/face-api.node-wasm.js");
  wasm.setWasmPaths(path.resolve("node_modules/@tensorflow/tfjs-backend-wasm/dist") + "/");
  await tf.setBackend("wasm");
  await tf.ready();
  const network = faces.nets.faceExpressionNet;
  await network.loadFromDisk(path.resolve("node_modules/@vladmandic/face-api/model"));
  const pixels = fs.readFileSync(file);
  const said = [];
  for (let number = 0; number < count; number += 1) {
    const start = number * side * side * 3;
    const picture = tf.tensor3d(pixels.subarray(start, start + side * side * 3), [side, side, 3], "int32");
    said.push({ ...(await network.predictExpressions(picture)) });
    picture.dispose();
  }
  console.log(JSON.stringify(said));
}

main();
