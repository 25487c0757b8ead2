(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("rollouts").textContent);
  const box = document.getElementById("browser");
  if (!data.problems.length) return;

  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const worth = (answer) => answer[3] ?? Number(answer[1]);
  // Each model by its own range: exams of different formats have different rewards.
  const ranges = data.models.map((_, place) => {
    const all = data.problems.flatMap((p) => p.models.filter((m) => m.model === place).flatMap((m) => m.shown.map(worth)));
    return [Math.min(0, ...all), Math.max(...all)];
  });
  const hue = (place, answer) => {
    const [least, most] = ranges[place];
    return Math.round(130 * (most > least ? (worth(answer) - least) / (most - least) : Number(answer[1])));
  };
  const hidden = new Set();
  let shown = data.problems, at = 0;

  const choice = (label, options) => {
    const select = make("select", { "aria-label": label }, make("option", { value: "" }, label));
    for (const [value, words] of options) select.append(make("option", { value }, words));
    select.addEventListener("change", choose);
    return select;
  };
  const values = (key) => [...new Set(data.problems.map((p) => p[key]).filter(Boolean))].map((v) => [v, v]);
  const search = make("input", { type: "search", placeholder: "search questions and answers", "aria-label": "search" });
  search.addEventListener("input", choose);
  const verdicts = [["all", "all models right"], ["none", "no model right"], ["some", "models differ"], ["gained", "last model gained"]];
  const filters = {
    exam: choice("every exam", values("exam")),
    language: choice("every language", values("language")),
    difficulty: choice("every difficulty", values("difficulty")),
    verdict: choice("right or wrong", verdicts),
  };
  const back = make("button", { type: "button", "aria-label": "previous problem" }, "←");
  const next = make("button", { type: "button", "aria-label": "next problem" }, "→");
  const count = make("span", { role: "status" });
  back.addEventListener("click", () => turn(-1));
  next.addEventListener("click", () => turn(1));
  const chips = make("div", { class: "chips", role: "group", "aria-label": "models shown" });
  data.models.forEach((model, place) => {
    const chip = make("button", { type: "button", class: model.class, "aria-pressed": "true" }, model.name);
    chip.addEventListener("click", () => {
      hidden.has(place) ? hidden.delete(place) : hidden.add(place);
      chip.setAttribute("aria-pressed", String(!hidden.has(place)));
      draw();
    });
    chips.append(chip);
  });
  const used = Object.entries(filters).filter(([, select]) => select.options.length > 2).map(([, select]) => select);
  const page = make("div");
  box.replaceChildren(make("div", { class: "controls" }, search, ...used, make("span", { class: "turn" }, back, count, next)), chips, page);

  function share(model) { return model.right / model.total; }
  function fits(problem, verdict) {
    const models = problem.models.filter((m) => !hidden.has(m.model));
    const right = models.filter((m) => share(m) > 0.5).length;
    if (verdict === "all") return right === models.length;
    if (verdict === "none") return right === 0;
    if (verdict === "some") return right > 0 && right < models.length;
    return models.length > 1 && share(models.at(-1)) > 0.5 && share(models[0]) <= 0.5;
  }
  function choose() {
    const words = search.value.toLowerCase();
    shown = data.problems.filter((p) =>
      ["exam", "language", "difficulty"].every((key) => !filters[key].value || p[key] === filters[key].value) &&
      (!filters.verdict.value || fits(p, filters.verdict.value)) &&
      (!words || (p.prompt + "\n" + p.answer).toLowerCase().includes(words) ||
        p.models.some((m) => m.shown.some((a) => a[0].toLowerCase().includes(words)))));
    at = 0;
    draw();
  }
  function turn(by) {
    if (!shown.length) return;
    at = (at + by + shown.length) % shown.length;
    draw();
  }
  function draw() {
    count.textContent = shown.length ? `${at + 1} of ${shown.length}` : "none";
    page.replaceChildren(shown.length ? problem(shown[at]) : make("p", { class: "note" }, "No problem is like this."));
  }
  function problem(p) {
    const facts = [p.exam, p.difficulty && `difficulty ${p.difficulty}`, p.language, p.answer && `reference answer: ${p.answer}`];
    const cards = p.models.filter((m) => !hidden.has(m.model)).map(card);
    return make("article", {}, make("pre", { class: "prompt" }, p.prompt),
      make("p", { class: "note" }, facts.filter(Boolean).join(" · ")), make("div", { class: "cards" }, ...cards));
  }
  function card(m) {
    const model = data.models[m.model];
    const head = make("p", { class: "who" }, make("b", { class: model.class }, model.name), make("span", {}, `${m.right} of ${m.total} right`));
    return make("div", { class: "card" }, head, ...m.shown.flatMap((shown) => answer(m.model, shown)));
  }
  function answer(place, shown) {
    const [text, correct, length, reward, sample] = shown;
    const verdict = make("b", { class: correct ? "right" : "wrong" }, correct ? "right" : "wrong");
    const facts = ` · ${length} tokens` + (reward === null ? "" : ` · reward ${reward}`) + ` · sample ${sample + 1}`;
    const cut = text.indexOf("</think>");
    const parts = cut < 0 ? [text] : [make("span", { class: "thought" }, text.slice(0, cut + 8)), text.slice(cut + 8)];
    const body = make("pre", { tabindex: "0" }, ...parts);
    body.style.borderLeft = `4px solid hsl(${hue(place, shown)} 60% 45%)`;
    return [make("p", { class: "note" }, verdict, facts), body];
  }
  document.addEventListener("keydown", (event) => {
    const seen = box.getBoundingClientRect();
    if (seen.bottom < 0 || seen.top > innerHeight || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest("input, select, textarea")) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      turn(event.key === "ArrowLeft" ? -1 : 1);
      event.preventDefault();
    }
  });
  draw();
})();
