// Stoa's one script. Every page works without it; it makes pages quick and live.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const JAPANESE = document.documentElement.lang.startsWith("ja");

// --- Sign-up: propose an address from the name, say at once whether it is free ---------------------

function signUp(form) {
  const name = form.elements.shop_name;
  const slug = form.elements.slug;
  const field = $("[data-slug-field]", form);
  const status = $("#slug-status", form);
  const chips = $("[data-suggestions]", form);
  let typedByHand = slug.value !== "";
  let timer = 0;
  let asked = 0;

  const show = (answer) => {
    const bad = answer.message && !answer.available;
    field.classList.toggle("has-error", Boolean(bad));
    slug.toggleAttribute("aria-invalid", Boolean(bad));
    status.hidden = !answer.message;
    status.className = bad ? "error" : "fine";
    status.textContent = answer.message || "";
    $$("[data-take]", chips).forEach((chip) => chip.remove());
    for (const free of answer.suggestions || []) {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.className = "chip";
      chip.dataset.take = chip.textContent = free;
      chips.append(chip);
    }
    chips.hidden = !(answer.suggestions || []).length;
  };

  const ask = (query, then) => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const turn = ++asked;
      const address = `${form.dataset.availability}?${new URLSearchParams(query)}`;
      try {
        const response = await fetch(address, { headers: { Accept: "application/json" } });
        const answer = response.ok ? await response.json() : {};
        if (turn === asked) then(answer); // an older answer must not overwrite a newer one
      } catch { /* offline for a moment: the form itself will say what is wrong */ }
    }, 180);
  };

  name.addEventListener("input", () => {
    clearError(name);
    if (typedByHand) return;
    if (!name.value.trim()) { slug.value = ""; show({}); return; }
    ask({ name: name.value }, (answer) => {
      if (typedByHand) return;
      slug.value = answer.slug || "";
      show(answer);
    });
  });
  slug.addEventListener("input", () => {
    const at = slug.selectionStart;
    const tidy = slug.value.toLowerCase().replace(/[\s_.]+/g, "-");
    if (tidy !== slug.value) { slug.value = tidy; slug.setSelectionRange(at, at); }
    typedByHand = slug.value !== "";
    if (slug.value) ask({ slug: slug.value }, show);
    else { clearTimeout(timer); asked++; show({}); }
  });
  chips.addEventListener("click", (event) => {
    const chip = event.target.closest("[data-take]");
    if (!chip) return;
    slug.value = chip.dataset.take;
    typedByHand = true;
    ask({ slug: slug.value }, show);
    slug.focus();
  });
  for (const input of $$(".input", form)) {
    if (input !== slug && input !== name) input.addEventListener("input", () => clearError(input));
  }
  $("[aria-invalid]", form)?.focus();
}

function clearError(input) {
  input.removeAttribute("aria-invalid");
  const field = input.closest(".field");
  field?.classList.remove("has-error");
  const error = field && $(".error", field);
  if (error && error.id !== "slug-status") error.hidden = true;
}

// --- An operation: live by server-sent events, by asking where those do not come through -----------

function follow(page) {
  const live = $("[data-live]", page);
  const announce = $("[data-announce]", page);
  const connection = $("[data-connection]", page);
  let failures = 0;
  let polling = 0;
  let source = null;

  const show = (html) => {
    live.innerHTML = html;
    const words = $("[data-status]", live)?.textContent.trim() || "";
    if (words !== announce.textContent) announce.textContent = words;
    connection.hidden = true;
    failures = 0;
    tick();
    return $("[data-open]", live)?.dataset.open === "no";
  };

  const finish = async () => {
    source?.close();
    clearInterval(polling);
    try {
      const response = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!response.ok) throw new Error(String(response.status));
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
      const replacement = $("#operation", fresh);
      if (!replacement) throw new Error("not the operation's page");
      document.title = fresh.title;
      page.replaceWith(replacement);
      prepare(replacement);
      window.htmx?.process(replacement);
      $("[data-headline]", replacement)?.focus();
      if (replacement.dataset.operation === "open") follow(replacement);
    } catch {
      setTimeout(() => location.reload(), 1500);
    }
  };

  const poll = async () => {
    try {
      const response = await fetch(page.dataset.steps);
      if (response.redirected || response.status === 404) { location.reload(); return; }
      if (response.ok && show(await response.text())) finish();
    } catch { connection.hidden = false; }
  };

  const listen = () => {
    if (!window.EventSource) { polling = setInterval(poll, 2000); return; }
    source = new EventSource(page.dataset.events);
    source.addEventListener("progress", (event) => {
      clearInterval(polling);
      polling = 0;
      show(event.data);
    });
    source.addEventListener("end", finish);
    source.addEventListener("error", () => {
      failures += 1;
      if (failures > 1) connection.hidden = false;
      // The browser reconnects by itself; meanwhile, and where it has given up, we ask.
      if (!polling) polling = setInterval(poll, 2000);
      if (source.readyState === EventSource.CLOSED) setTimeout(() => { source.close(); listen(); }, 5000);
    });
  };
  listen();
  addEventListener("pagehide", () => source?.close(), { once: true });
}

// --- Small things -----------------------------------------------------------------------------------

const counting = new WeakMap();

function tick() {
  const now = performance.now();
  for (const span of $$("[data-elapsed]")) {
    if (!counting.has(span)) counting.set(span, now - 1000 * Number(span.dataset.elapsed));
    const seconds = (now - counting.get(span)) / 1000;
    span.textContent = seconds < 10 ? `${seconds.toFixed(1)} s`
      : seconds < 60 ? `${Math.round(seconds)} s`
      : `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  }
}

const relative = new Intl.RelativeTimeFormat(JAPANESE ? "ja" : "en", { numeric: "always" });
const exact = new Intl.DateTimeFormat(JAPANESE ? "ja" : "en", { dateStyle: "medium", timeStyle: "medium" });

function tellTimes(root = document) {
  for (const time of $$("time[data-ago]", root)) {
    const at = new Date(time.dateTime);
    const seconds = (Date.now() - at) / 1000;
    time.title = exact.format(at);
    if (seconds < 10) continue;
    const [unit, size] = seconds < 60 ? ["second", 1] : seconds < 3600 ? ["minute", 60]
      : seconds < 86400 ? ["hour", 3600] : ["day", 86400];
    time.textContent = relative.format(-Math.floor(seconds / size), unit);
  }
}

function prepare(root) {
  tellTimes(root);
  for (const button of $$("[data-reveal], [data-copy]", root)) button.hidden = false;
  for (const form of $$("form[data-typed]", root)) {
    const input = $("input[name=typed]", form);
    const button = $("button.danger", form);
    const check = () => { button.disabled = input.value.trim() !== form.dataset.typed; };
    input.addEventListener("input", check);
    check();
  }
}

async function copy(button) {
  const text = document.getElementById(button.dataset.copy).textContent.trim();
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Plain http has no clipboard: select it, so that one key copies it.
    getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
    if (!document.execCommand("copy")) return;
  }
  const before = button.textContent;
  button.textContent = button.dataset.copied;
  setTimeout(() => { button.textContent = before; }, 2000);
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-reveal], [data-copy], [data-dialog], [data-close]");
  if (!target) return;
  if (target.dataset.reveal) {
    const input = document.getElementById(target.dataset.reveal);
    const shown = input.type === "text";
    input.type = shown ? "password" : "text";
    target.textContent = shown ? target.dataset.show : target.dataset.hide;
    input.focus();
  } else if (target.dataset.copy) {
    copy(target);
  } else if (target.dataset.dialog) {
    const dialog = document.getElementById(target.dataset.dialog);
    if (dialog?.showModal) { event.preventDefault(); dialog.showModal(); }
  } else if (target.closest("dialog")) {
    event.preventDefault();
    target.closest("dialog").close();
  }
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  const button = event.submitter?.matches("[data-once]") ? event.submitter : $("[data-once]", form);
  if (!button) return;
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "yes";
  button.setAttribute("aria-disabled", "true");
  button.setAttribute("aria-busy", "true");
  button.dataset.words = button.textContent;
  if (button.dataset.busy) button.textContent = button.dataset.busy;
});

// Who comes back with the back button finds the form ready to be sent again.
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const form of $$("form[data-sent]")) {
    delete form.dataset.sent;
    for (const button of $$("[aria-busy]", form)) {
      button.removeAttribute("aria-busy");
      button.removeAttribute("aria-disabled");
      if (button.dataset.words) button.textContent = button.dataset.words;
    }
  }
});

document.addEventListener("htmx:afterSwap", (event) => {
  prepare(event.detail.target);
  $("[data-focus]", event.detail.target)?.focus();
});

prepare(document);
const signUpForm = $("[data-signup]");
if (signUpForm) signUp(signUpForm);
const operation = $("[data-operation=open]");
if (operation) follow(operation);
setInterval(tick, 100);
setInterval(tellTimes, 10000);
