"use strict";
// The two interactive parts of the report: the valence-arousal plane and the timeline of a video.
(() => {
  const store = JSON.parse(document.getElementById("store").textContent);
  const find = (selector) => document.querySelector(selector);

  function start() {
    const points = unpack();
    if (find("#scatter")) plane(points);
    if (find("#timeline")) timeline(points);
  }

  // ------------------------------------------------------------------ the packed numbers

  function buffer(text) {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return bytes.buffer;
  }

  function unpack() {
    const thumbnails = new Map(store.thumbnails.map((t) => [t.at, t]));
    return {
      label: new Int16Array(buffer(store.label)),
      preds: store.runs.map((run) => new Int16Array(buffer(run.preds))),
      frames: store.frames ? new Int32Array(buffer(store.frames)) : null,
      thumbnails,
    };
  }

  const value = (array, i, k) => array[2 * i + k] / store.scale;
  const signed = (x) => (x < 0 ? "\u2212" : "+") + Math.abs(x).toFixed(2);
  const pair = (array, i) => `${signed(value(array, i, 0))} ${signed(value(array, i, 1))}`;

  // ------------------------------------------------------------------ colours and canvases

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const runColour = (run) => (dark.matches ? run.dark : run.light);
  const RAMPS = {
    density: { light: ["#dce9fd", "#7fb0f2", "#2f6fde", "#123a86"], dark: ["#1b3e7c", "#2a61c4", "#74aef7", "#e2f0ff"] },
    error: { light: ["#f9d57e", "#ee7b51", "#b12a90", "#2c0594"], dark: ["#46039f", "#b12a90", "#ee7b51", "#fcd225"] },
  };

  function ramp(kind) {
    const stops = RAMPS[kind][dark.matches ? "dark" : "light"].map(
      (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
    const colours = new Uint8ClampedArray(256 * 3);
    for (let i = 0; i < 256; i++) {
      const place = (i / 255) * (stops.length - 1);
      const low = Math.min(Math.floor(place), stops.length - 2);
      for (let c = 0; c < 3; c++) {
        colours[3 * i + c] = stops[low][c] + (place - low) * (stops[low + 1][c] - stops[low][c]);
      }
    }
    return colours;
  }

  function fitted(canvas) {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.font = "12px system-ui, 'Liberation Sans', sans-serif";
    return { pen, width, height, ratio };
  }

  function onceAFrame(work) {
    let waiting = false;
    return (...given) => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; work(...given); });
    };
  }

  function redrawWhenNeeded(element, draw) {
    let width = 0;
    new ResizeObserver(() => {
      if (element.clientWidth !== width) { width = element.clientWidth; if (width) draw(); }
    }).observe(element);
    dark.addEventListener("change", () => { if (element.clientWidth) draw(); });
  }

  function pressed(bar, choose) {
    bar.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-value]");
      if (!button) return;
      for (const other of bar.querySelectorAll("button[data-value]")) {
        other.setAttribute("aria-pressed", String(other === button));
      }
      choose(button.dataset.value);
    });
  }

  // ------------------------------------------------------------------ the plane

  function plane(points) {
    const under = find("#plane"), over = find("#plane-over"), tip = find("#plane-tip");
    const state = { layer: "predictions", run: 0, x: 0, y: 0, half: 1.12 };
    let size = 1, buckets = null;

    const shown = () => (state.layer === "labels" || state.layer === "error" ? points.label : points.preds[state.run]);
    const toX = (v) => ((v - state.x + state.half) / (2 * state.half)) * size;
    const toY = (a) => ((state.y + state.half - a) / (2 * state.half)) * size;

    function draw() {
      const { pen, width, ratio } = fitted(under);
      fitted(over);
      size = width;
      pen.fillStyle = css("--card");
      pen.fillRect(0, 0, width, width);
      if (state.layer !== "faces") cloud(pen, ratio);
      axes(pen);
      if (state.layer === "faces") faces(pen);
      buckets = bucketed();
      tip.hidden = true;
    }

    function cloud(pen, ratio) {
      const cell = 2, across = Math.ceil((size * ratio) / cell);
      const counts = new Float32Array(across * across), errors = new Float32Array(across * across);
      const where = shown(), said = points.preds[state.run], unit = across / (2 * state.half);
      let most = 1;
      for (let i = 0; i < store.n; i++) {
        const x = Math.floor((value(where, i, 0) - state.x + state.half) * unit);
        const y = Math.floor((state.y + state.half - value(where, i, 1)) * unit);
        if (x < 0 || y < 0 || x >= across || y >= across) continue;
        const at = y * across + x;
        counts[at] += 1;
        if (counts[at] > most) most = counts[at];
        errors[at] += Math.hypot(value(said, i, 0) - value(points.label, i, 0), value(said, i, 1) - value(points.label, i, 1));
      }
      const image = new ImageData(across, across);
      const byError = state.layer === "error", colours = ramp(byError ? "error" : "density");
      const top = Math.log1p(most);
      for (let at = 0; at < counts.length; at++) {
        if (!counts[at]) continue;
        const level = byError ? Math.min(1, errors[at] / counts[at] / 0.8) : 0.25 + 0.75 * (Math.log1p(counts[at]) / top);
        const colour = 3 * Math.round(255 * level);
        image.data.set([colours[colour], colours[colour + 1], colours[colour + 2], 255], 4 * at);
      }
      const sheet = new OffscreenCanvas(across, across);
      sheet.getContext("2d").putImageData(image, 0, 0);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(sheet, 0, 0, size, size);
      if (store.n < 12000) dots(pen, where);
    }

    function dots(pen, where) {  // few points are seen better as discs
      pen.fillStyle = css("--accent");
      pen.globalAlpha = state.layer === "error" ? 0 : 0.55;
      for (let i = 0; i < store.n; i++) {
        pen.beginPath();
        pen.arc(toX(value(where, i, 0)), toY(value(where, i, 1)), 2, 0, 7);
        pen.fill();
      }
      pen.globalAlpha = 1;
    }

    function axes(pen) {
      pen.strokeStyle = css("--line");
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(toX(-1.1), toY(0)); pen.lineTo(toX(1.1), toY(0));
      pen.moveTo(toX(0), toY(-1.1)); pen.lineTo(toX(0), toY(1.1));
      pen.stroke();
      pen.beginPath();
      pen.arc(toX(0), toY(0), size / (2 * state.half), 0, 7);
      pen.stroke();
      pen.textAlign = "center";
      pen.lineWidth = 3;
      pen.strokeStyle = css("--card");
      pen.fillStyle = css("--soft");
      for (const [word, v, a] of store.words) written(pen, word, toX(v), toY(a));
      pen.fillStyle = css("--ink");
      pen.textAlign = "right";
      written(pen, "valence \u2192", toX(1.1), toY(0) - 6);
      pen.textAlign = "left";
      written(pen, "arousal \u2191", toX(0) + 6, toY(1.03));
    }

    function written(pen, word, x, y) {
      pen.strokeText(word, x, y);
      pen.fillText(word, x, y);
    }

    const loaded = new Map();
    function picture(thumbnail) {
      if (!loaded.has(thumbnail.at)) {
        const image = new Image();
        image.onload = onceAFrame(() => { if (state.layer === "faces") draw(); });
        image.src = thumbnail.image;
        loaded.set(thumbnail.at, image);
      }
      return loaded.get(thumbnail.at);
    }

    function faces(pen) {
      const side = Math.max(26, size / 17), taken = [];
      for (const thumbnail of points.thumbnails.values()) {
        const x = toX(value(shown(), thumbnail.at, 0)), y = toY(value(shown(), thumbnail.at, 1));
        if (x < 0 || y < 0 || x > size || y > size) continue;
        if (taken.some((t) => Math.abs(t[0] - x) < side && Math.abs(t[1] - y) < side)) continue;
        const image = picture(thumbnail);
        if (!image.complete) continue;
        taken.push([x, y]);
        pen.drawImage(image, x - side / 2, y - side / 2, side, side);
      }
    }

    // a grid of buckets finds the point under the finger among all of them
    const ACROSS = 96;
    const bucket = (x, y) => Math.floor((y / size) * ACROSS) * ACROSS + Math.floor((x / size) * ACROSS);
    function bucketed() {
      const where = shown(), starts = new Int32Array(ACROSS * ACROSS + 1), home = new Int32Array(store.n).fill(-1);
      for (let i = 0; i < store.n; i++) {
        const x = toX(value(where, i, 0)), y = toY(value(where, i, 1));
        if (x < 0 || y < 0 || x >= size || y >= size) continue;
        home[i] = bucket(x, y);
        starts[home[i] + 1]++;
      }
      for (let b = 0; b < ACROSS * ACROSS; b++) starts[b + 1] += starts[b];
      const next = starts.slice(), members = new Int32Array(starts[ACROSS * ACROSS]);
      for (let i = 0; i < store.n; i++) if (home[i] >= 0) members[next[home[i]]++] = i;
      return { starts, members };
    }

    function nearest(x, y) {
      const reach = 16, where = shown(), step = size / ACROSS;
      let best = -1, least = reach * reach;
      for (let by = Math.floor((y - reach) / step); by <= Math.floor((y + reach) / step); by++) {
        for (let bx = Math.floor((x - reach) / step); bx <= Math.floor((x + reach) / step); bx++) {
          if (bx < 0 || by < 0 || bx >= ACROSS || by >= ACROSS) continue;
          const at = by * ACROSS + bx;
          for (let m = buckets.starts[at]; m < buckets.starts[at + 1]; m++) {
            const i = buckets.members[m];
            const far = (toX(value(where, i, 0)) - x) ** 2 + (toY(value(where, i, 1)) - y) ** 2;
            const weighed = points.thumbnails.has(i) ? far / 4 : far;  // prefer those with a face
            if (far < reach * reach && weighed < least) { least = weighed; best = i; }
          }
        }
      }
      return best;
    }

    const hover = onceAFrame((x, y) => show(nearest(x, y), x, y));
    function show(i, x, y) {
      const { pen } = fitted(over);
      tip.hidden = i < 0;
      if (i < 0) return;
      const fromX = toX(value(points.label, i, 0)), fromY = toY(value(points.label, i, 1));
      pen.lineWidth = 2;
      store.runs.forEach((run, r) => {
        const atX = toX(value(points.preds[r], i, 0)), atY = toY(value(points.preds[r], i, 1));
        pen.strokeStyle = pen.fillStyle = runColour(run);
        pen.beginPath(); pen.moveTo(fromX, fromY); pen.lineTo(atX, atY); pen.stroke();
        pen.beginPath(); pen.arc(atX, atY, 5, 0, 7); pen.fill();
      });
      pen.strokeStyle = css("--ink");
      pen.beginPath(); pen.arc(fromX, fromY, 6, 0, 7); pen.stroke();
      tell(i, x, y);
    }

    function tell(i, x, y) {
      const thumbnail = points.thumbnails.get(i);
      const lines = [thumbnail ? thumbnail.key : null, `label ${pair(points.label, i)}`];
      store.runs.forEach((run, r) => lines.push(`${run.name} ${pair(points.preds[r], i)}`));
      tip.replaceChildren();
      if (thumbnail) {
        const image = new Image();
        image.src = thumbnail.image;
        image.alt = "the face";
        tip.append(image);
      }
      for (const line of lines) {
        if (line === null) continue;
        const row = document.createElement("div");
        row.textContent = line;
        tip.append(row);
      }
      tip.style.left = `${x < size / 2 ? x + 16 : Math.max(0, x - 16 - tip.offsetWidth)}px`;
      tip.style.top = `${Math.max(0, Math.min(y + 12, size - tip.offsetHeight - 4))}px`;
    }

    let held = null;
    over.addEventListener("pointerdown", (event) => {
      held = { x: event.offsetX, y: event.offsetY, fromX: state.x, fromY: state.y };
      hover(event.offsetX, event.offsetY);
    });
    over.addEventListener("pointermove", (event) => {
      if (held && event.buttons && event.pointerType === "mouse" && state.half < 1.1) {
        state.x = held.fromX - ((event.offsetX - held.x) / size) * 2 * state.half;
        state.y = held.fromY + ((event.offsetY - held.y) / size) * 2 * state.half;
        redraw();
      } else hover(event.offsetX, event.offsetY);
    });
    addEventListener("pointerup", () => { held = null; });
    over.addEventListener("pointerleave", () => { tip.hidden = true; fitted(over); });
    over.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;  // plain scrolling belongs to the page
      event.preventDefault();
      zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2);
    }, { passive: false });

    const WAYS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    let reached = -1;  // the sample to which the arrow keys have come
    under.addEventListener("keydown", (event) => {
      if (event.key === "+" || event.key === "=") zoom(1 / 1.5);
      else if (event.key === "-") zoom(1.5);
      else if (WAYS[event.key]) step(...WAYS[event.key]);
      else return;
      event.preventDefault();
    });
    under.addEventListener("blur", () => { tip.hidden = true; fitted(over); });

    function step(right, down) {  // to the nearest sample on the screen that lies that way
      const where = shown(), place = (i) => [toX(value(where, i, 0)), toY(value(where, i, 1))];
      const [fromX, fromY] = reached < 0 ? [size / 2, size / 2] : place(reached);
      let least = Infinity;
      for (let i = 0; i < store.n; i++) {
        const [x, y] = place(i);
        const along = (x - fromX) * right + (y - fromY) * down;
        const aside = Math.abs((x - fromX) * down) + Math.abs((y - fromY) * right);
        if (along < 1 || aside > along || x < 0 || y < 0 || x >= size || y >= size) continue;
        if (along + aside < least) { least = along + aside; reached = i; }
      }
      if (reached >= 0) show(reached, ...place(reached));
    }

    function zoom(by) {
      state.half = Math.min(1.12, Math.max(0.05, state.half * by));
      if (state.half === 1.12) state.x = state.y = 0;
      redraw();
    }
    const redraw = onceAFrame(draw);
    pressed(find("#plane-layers"), (layer) => { state.layer = layer; draw(); });
    if (find("#plane-runs")) pressed(find("#plane-runs"), (run) => { state.run = Number(run); draw(); });
    find("#plane-in").addEventListener("click", () => zoom(1 / 1.5));
    find("#plane-out").addEventListener("click", () => zoom(1.5));
    redrawWhenNeeded(under, draw);
    draw();
  }

  // ------------------------------------------------------------------ the timeline

  function timeline(points) {
    const under = find("#lines"), over = find("#lines-over"), slider = find("#moment");
    const chooser = find("#video"), readout = find("#reading"), face = find("#moment-face"), dial = find("#dial");
    const LEFT = 40, TOP = 8, GAP = 22, FOOT = 22;
    let video = store.videos[0], at = 0, width = 1, height = 1;

    const count = () => video.stop - video.start;
    const toX = (i) => LEFT + ((points.frames[video.start + i] - points.frames[video.start]) / span()) * (width - LEFT - 4);
    const span = () => Math.max(1, points.frames[video.stop - 1] - points.frames[video.start]);
    const panel = () => (height - TOP - GAP - FOOT) / 2;
    const toY = (x, k) => TOP + k * (panel() + GAP) + ((1 - Math.max(-1, Math.min(1, x))) / 2) * panel();

    function draw() {
      const fit = fitted(under);
      ({ width, height } = fit);
      const pen = fit.pen;
      pen.fillStyle = css("--soft");
      ["valence", "arousal"].forEach((axis, k) => {
        pen.strokeStyle = css("--line");
        for (const level of [-1, 0, 1]) {
          pen.beginPath(); pen.moveTo(LEFT, toY(level, k)); pen.lineTo(width - 4, toY(level, k)); pen.stroke();
          pen.textAlign = "right";
          pen.fillText(String(level).replace("-", "\u2212"), LEFT - 6, toY(level, k) + 4);
        }
        pen.textAlign = "left";
        pen.fillText(axis, LEFT + 4, toY(1, k) + 12);
        line(pen, points.label, k, css("--label"), 4);
        store.runs.forEach((run, r) => line(pen, points.preds[r], k, runColour(run), 1.3));
      });
      pen.textAlign = "left";
      pen.fillText(`frame ${points.frames[video.start]}`, LEFT, height - 6);
      pen.textAlign = "right";
      pen.fillText(`frame ${points.frames[video.stop - 1]}`, width - 4, height - 6);
      mark();
    }

    function line(pen, array, k, colour, thickness) {
      pen.strokeStyle = colour;
      pen.lineWidth = thickness;
      pen.lineJoin = "round";
      pen.beginPath();
      const step = Math.max(1, Math.floor(count() / (2 * width)));  // two values a pixel are enough
      for (let i = 0; i < count(); i += step) {
        let least = 2, most = -2;
        for (let j = i; j < Math.min(i + step, count()); j++) {
          const here = value(array, video.start + j, k);
          if (here < least) least = here;
          if (here > most) most = here;
        }
        if (i === 0) pen.moveTo(toX(i), toY(most, k));
        pen.lineTo(toX(i), toY(most, k));
        if (least !== most) pen.lineTo(toX(i), toY(least, k));
      }
      pen.stroke();
      pen.lineWidth = 1;
    }

    function mark() {
      const { pen } = fitted(over);
      const x = toX(at), i = video.start + at;
      pen.strokeStyle = "#d8323c";
      pen.setLineDash([5, 4]);
      pen.beginPath(); pen.moveTo(x, TOP); pen.lineTo(x, height - FOOT); pen.stroke();
      pen.setLineDash([]);
      store.runs.forEach((run, r) => {
        for (let k = 0; k < 2; k++) disc(pen, x, toY(value(points.preds[r], i, k), k), 3.5, runColour(run));
      });
      slider.value = String(at);
      slider.setAttribute("aria-valuetext", `frame ${points.frames[i]}`);
      read(i);
      turn(i);
    }

    function disc(pen, x, y, radius, colour) {
      pen.fillStyle = colour;
      pen.beginPath(); pen.arc(x, y, radius, 0, 7); pen.fill();
    }

    function read(i) {
      readout.replaceChildren();
      const say = (colour, text) => {
        const row = document.createElement("div");
        if (colour) {
          const dot = document.createElement("span");
          dot.className = "dot";
          dot.style.background = colour;
          row.append(dot);
        }
        row.append(text);
        readout.append(row);
      };
      say(null, `frame ${points.frames[i]}`);
      say(css("--label"), `label ${pair(points.label, i)}`);
      store.runs.forEach((run, r) => say(runColour(run), `${run.name} ${pair(points.preds[r], i)}`));
      const near = closest(i);
      if (near) face.src = near.image; else face.removeAttribute("src");
      face.alt = near ? `face at frame ${points.frames[near.at]}` : "";
      if (near && near.at !== i) say(null, `nearest face kept: frame ${points.frames[near.at]}`);
    }

    function closest(i) {
      let best = null;
      for (const thumbnail of points.thumbnails.values()) {
        if (thumbnail.at < video.start || thumbnail.at >= video.stop) continue;
        if (!best || Math.abs(thumbnail.at - i) < Math.abs(best.at - i)) best = thumbnail;
      }
      return best;
    }

    function turn(i) {  // the same moment on the plane, with where it came from
      const { pen, width: side } = fitted(dial);
      const middle = side / 2, radius = middle - 6;
      const x = (array, j) => middle + value(array, j, 0) * radius;
      const y = (array, j) => middle - value(array, j, 1) * radius;
      pen.strokeStyle = css("--line");
      pen.beginPath(); pen.arc(middle, middle, radius, 0, 7);
      pen.moveTo(6, middle); pen.lineTo(side - 6, middle); pen.moveTo(middle, 6); pen.lineTo(middle, side - 6);
      pen.stroke();
      pen.strokeStyle = css("--label");
      pen.beginPath();
      for (let j = Math.max(video.start, i - 90); j <= i; j++) pen.lineTo(x(points.label, j), y(points.label, j));
      pen.stroke();
      disc(pen, x(points.label, i), y(points.label, i), 6, css("--label"));
      store.runs.forEach((run, r) => disc(pen, x(points.preds[r], i), y(points.preds[r], i), 4, runColour(run)));
    }

    function goTo(place) {
      at = Math.max(0, Math.min(count() - 1, place));
      mark();
    }

    function scrub(event) {
      const frame = points.frames[video.start] + ((event.offsetX - LEFT) / (width - LEFT - 4)) * span();
      let low = 0, high = count() - 1;  // frames ascend within a video
      while (low < high) {
        const middle = (low + high) >> 1;
        if (points.frames[video.start + middle] < frame) low = middle + 1; else high = middle;
      }
      goTo(low);
    }

    const scrubbed = onceAFrame(scrub);
    over.addEventListener("pointerdown", scrub);
    over.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse" || event.buttons) scrubbed(event);
    });
    slider.addEventListener("input", () => goTo(Number(slider.value)));
    function open() {
      video = store.videos[Number(chooser.value)];
      slider.max = String(count() - 1);
      at = Math.floor(count() / 2);
      draw();
    }
    chooser.addEventListener("change", open);
    redrawWhenNeeded(under, draw);
    open();
  }

  if (store.n) start();
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
})();
