import { inBrowser, onContentUpdated } from 'vitepress';
import DefaultTheme from 'vitepress/theme';
import './style.css';

const KEY = 'rollcall-code-tab';

function stored() {
  try {
    return localStorage.getItem(KEY) ?? undefined;
  } catch {
    return undefined; // A browser that keeps nothing for this page.
  }
}

function store(title) {
  try {
    localStorage.setItem(KEY, title);
  } catch {
    // The choice then lasts as long as the page.
  }
}

/** Shows the tab called `title` in all code groups that have one. */
function select(title) {
  for (const label of document.querySelectorAll('.vp-code-group .tabs label')) {
    const input = document.getElementById(label.htmlFor);
    if (label.textContent === title && !input.checked) input.click();
  }
}

if (inBrowser) {
  document.addEventListener('change', ({ target, isTrusted }) => {
    if (!isTrusted || !target.matches('.vp-code-group input')) return;
    const label = document.querySelector(`label[for="${target.id}"]`);
    const before = label.getBoundingClientRect().top;
    store(label.textContent);
    select(label.textContent);
    // Groups above this one may have another height now.
    window.scrollBy(0, label.getBoundingClientRect().top - before);
  });
}

export default {
  extends: DefaultTheme,
  setup() {
    onContentUpdated(() => {
      const title = stored();
      if (title !== undefined) select(title);
    });
  },
};
