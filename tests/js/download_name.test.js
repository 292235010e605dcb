// What a download is called.

import assert from "node:assert/strict";
import { test } from "node:test";

import { file_name } from "../../assets/page/result.js";

const name = (photo, format = "png", ending = "", title = "The Starry Night") =>
  file_name({ photo: { name: photo }, style: { title } }, format, ending);

test("a download keeps the letters of any script, and nothing that file systems forbid", () => {
  for (const [photo, start] of [
    ["Agnès", "agnès-"],
    ["Agne\u0300s", "agnès-"],                  // as some systems write it: the accent by itself
    ["照片 🎨", "照片-"],
    ["Фото", "фото-"],
    ["नमस्ते", "नमस्ते-"],
    ["../../etc/passwd", "etc-passwd-"],
    [".hidden", "hidden-"],
    ['a/b\\c:d*e?f"g<h>i|j', "a-b-c-d-e-f-g-h-i-j-"],
    ["🎨", ""],
  ]) {
    assert.equal(name(photo), `${start}the-starry-night.png`);
    assert.equal(name(photo, "jpeg", "-classic"), `${start}the-starry-night-classic.jpg`);
  }
});

test("a download is never nameless, nor longer than file systems take", () => {
  for (const photo of ["x".repeat(400), "照".repeat(400), "\u{20000}".repeat(400), "", "---"]) {
    const made = name(photo, "jpeg", "-classic", "🎨");
    assert.match(made, /^[^-.].*-classic\.jpg$/u);
    assert.ok(new TextEncoder().encode(made).length <= 255);
  }
});
