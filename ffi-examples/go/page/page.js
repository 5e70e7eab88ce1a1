"use strict";

const at = (id) => document.getElementById(id);
let codes = null; // as /encode gives them
let info = null;

function say(text, wrong = false) {
  at("said").textContent = text;
  at("said").classList.toggle("wrong", wrong);
}

// A colour for each code: neighbours in number are far apart in hue.
function colour(code) {
  const hue = (code * 137.508) % 360;
  return `hsl(${hue} 65% ${35 + (code * 7) % 40}%)`;
}

function drawGrid(canvas, book, width, height) {
  const cell = 8;
  canvas.width = width * cell;
  canvas.height = height * cell;
  const context = canvas.getContext("2d");
  book.forEach((code, i) => {
    context.fillStyle = colour(code);
    context.fillRect((i % width) * cell, Math.floor(i / width) * cell, cell - 1, cell - 1);
  });
  canvas.onmousemove = (event) => {
    const box = canvas.getBoundingClientRect();
    const x = Math.floor((event.clientX - box.left) / box.width * width);
    const y = Math.floor((event.clientY - box.top) / box.height * height);
    canvas.title = `row ${y}, column ${x}: code ${book[y * width + x]}`;
  };
}

const names = (k) => (k === 2 ? ["visual", "semantic"] : k === 3 ? ["visual", "semantic, middle", "semantic, high"] : Array.from({ length: k }, (_, i) => `sub-codebook ${i}`));

function show(made) {
  codes = made;
  at("books").replaceChildren();
  at("grids").replaceChildren();
  made.books.forEach((book, i) => {
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.dataset.book = i;
    box.onchange = decode;
    label.append(box, " " + names(made.books.length)[i]);
    at("books").append(label);
    const canvas = document.createElement("canvas");
    drawGrid(canvas, book, made.width, made.height);
    at("grids").append(canvas);
  });
}

async function answer(response) {
  if (!response.ok) throw new Error((await response.text()).trim());
  return response;
}

async function encode(file) {
  try {
    say("encoding …");
    at("original").src = URL.createObjectURL(file);
    at("original").hidden = false;
    const began = performance.now();
    const made = await (await answer(await fetch("encode", { method: "POST", body: file }))).json();
    const count = made.books.length * made.width * made.height;
    say(`${made.width} x ${made.height} positions, ${count} codes, ${Math.round(performance.now() - began)} ms`);
    show(made);
    await decode();
  } catch (error) {
    say(error.message, true);
  }
}

async function decode() {
  const boxes = [...at("books").querySelectorAll("input")];
  const mask = boxes.reduce((mask, box, i) => mask | (box.checked ? 1 << i : 0), 0);
  [...at("grids").children].forEach((canvas, i) => canvas.classList.toggle("off", !boxes[i].checked));
  if (mask === 0) return at("result").removeAttribute("src");
  try {
    const response = await answer(await fetch(`decode?mask=${mask}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(codes),
    }));
    at("result").src = URL.createObjectURL(await response.blob());
    at("result").dataset.mask = mask;
  } catch (error) {
    say(error.message, true);
  }
}

at("file").onchange = () => at("file").files[0] && encode(at("file").files[0]);
at("drop").ondragover = (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
};
at("drop").ondragleave = () => at("drop").classList.remove("over");
at("drop").ondrop = (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  if (event.dataTransfer.files[0]) encode(event.dataTransfer.files[0]);
};
at("drop").onkeydown = (event) => event.key === "Enter" && at("file").click();

let source = null;

function end() {
  if (source) source.close();
  source = null;
  at("start").disabled = false;
  at("stop").disabled = true;
}

at("draw").onsubmit = (event) => {
  event.preventDefault();
  const form = new FormData(at("draw"));
  at("start").disabled = true;
  at("stop").disabled = false;
  at("live").hidden = true;
  at("rows").value = 0;
  source = new EventSource("generate?" + new URLSearchParams(form));
  source.addEventListener("row", (event) => {
    const { rows, of, image } = JSON.parse(event.data);
    at("frame").style.aspectRatio = `${info.generator.GridWidth} / ${of}`;
    at("live").src = image;
    at("live").hidden = false;
    at("rows").max = of;
    at("rows").value = rows;
  });
  source.addEventListener("done", (event) => {
    end();
    show(JSON.parse(event.data));
    at("original").hidden = true;
    say(`drawn: class ${form.get("class")}, seed ${form.get("seed")}`);
    decode();
  });
  source.addEventListener("failed", (event) => {
    end();
    say(JSON.parse(event.data).message, true);
  });
  source.onerror = () => {
    if (source) say("the service refused, or went away", true);
    end();
  };
};
at("stop").onclick = () => {
  end();
  say("stopped");
};

fetch("info").then(answer).then((response) => response.json()).then((answer) => {
  info = answer;
  at("making").hidden = !info.generator;
  if (info.generator) at("draw").elements.class.max = info.generator.Classes - 1;
}).catch((error) => say(error.message, true));
