// Keys of the practice page: a number chooses, Enter goes on. Without this script the buttons do the same.

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code);
  if (digit !== null) document.querySelectorAll(".card:not(:disabled)")[Number(digit[1]) - 1]?.click();
});

document.querySelector("[data-go]")?.focus();
