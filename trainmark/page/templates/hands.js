// What hands do with any page: copy a command, rest on a mark, follow a link into a folded part.

function copyButton(label, textOf) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "copy";
  button.setAttribute("aria-label", label);
  button.addEventListener("click", async () => {
    const text = textOf();
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // a page of a file or of http may have no clipboard
      const field = document.body.appendChild(document.createElement("textarea"));
      field.value = text;
      field.select();
      document.execCommand("copy");
      field.remove();
      button.focus();
    }
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 2000);
  });
  return button;
}

for (const line of document.querySelectorAll(".command")) {
  const code = line.querySelector("code");
  line.append(copyButton("Copy this command", () => code.textContent));
}

const tip = document.body.appendChild(document.createElement("div"));
tip.className = "tip";
tip.hidden = true;
for (const spots of document.querySelectorAll(".spots")) {
  for (const title of spots.querySelectorAll("title")) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();  // else the browser shows it a second time
  }
  spots.addEventListener("pointerover", ({ target }) => {
    if (target.dataset.tip === undefined) return;
    const place = target.getBoundingClientRect();
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    const left = Math.min(place.right + scrollX + 4, document.documentElement.clientWidth - tip.offsetWidth - 4);
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${place.top + scrollY - tip.offsetHeight - 2}px`;
  });
  spots.addEventListener("pointerout", () => { tip.hidden = true; });
}

function unfold() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  target?.scrollIntoView();
}
addEventListener("hashchange", unfold);
unfold();
