/** Replacements in components of VitePress whose roles and names a screen reader cannot use. By file: text, new text. */
const REPLACEMENTS = {
  'VPSidebarItem.vue': [
    // Only what opens and closes is a button, and a button contains no other one.
    ["isLink.value ? undefined : 'button'", "isLink.value || !collapsible.value ? undefined : 'button'"],
    [':role="itemRole"', ':role="itemRole" :aria-expanded="itemRole && !collapsed"'],
    [':tabindex="item.items && 0"', ':tabindex="itemRole && 0"'],
    [
      'role="button"\n        aria-label="toggle section"',
      `:role="item.link && 'button'" :aria-label="item.link && item.text + ': contents'" :aria-expanded="item.link ? !collapsed : undefined"`,
    ],
    ['tabindex="0"', ':tabindex="item.link && 0"'],
    // The space key presses buttons, too.
    ["'key' in e && e.key !== 'Enter'", "'key' in e && ![' ', 'Enter'].includes(e.key)"],
    ['!props.item.link && toggle()', "if ('key' in e) e.preventDefault()\n  !props.item.link && toggle()"],
  ],
  'VPNavBarSearchButton.vue': [
    // Named by its text; on phones, where that is hidden, by its title.
    [':aria-label=', ':title='],
    ['class="DocSearch-Button-Keys"', 'class="DocSearch-Button-Keys" aria-hidden="true"'],
  ],
  'VPLocalSearchBox.vue': [
    ['<kbd :aria-label', '<kbd role="img" :aria-label'],
    // A dialog with a combobox and its list of options.
    [
      `role="button"
      :aria-owns="results?.length ? 'localsearch-list' : undefined"
      aria-expanded="true"
      aria-haspopup="listbox"
      aria-labelledby="localsearch-label"`,
      'role="dialog" aria-modal="true" aria-label="Search"',
    ],
    [
      'ref="searchInput"',
      `ref="searchInput" role="combobox" :aria-expanded="results?.length ? 'true' : 'false'"`,
    ],
    [
      `:id="'localsearch-item-' + index"
            :aria-selected="selectedIndex === index ? 'true' : 'false'"
            role="option"`,
      'role="none"',
    ],
    [
      `:aria-label="[...p.titles, p.title].join(' > ')"`,
      `:id="'localsearch-item-' + index" role="option" :aria-selected="selectedIndex === index ? 'true' : 'false'"`,
    ],
  ],
};

/** A Vite plugin. It fails when VitePress has changed a replaced text. */
export const accessibleTheme = {
  name: 'accessible-theme',
  enforce: 'pre',
  transform(code, id) {
    const [, file] = /\/theme-default\/components\/(\w+\.vue)$/.exec(id) ?? [];
    const replacements = REPLACEMENTS[file];
    if (replacements === undefined) return undefined;
    return replacements.reduce((text, [from, to]) => {
      if (!text.includes(from)) throw new Error(`${file} of VitePress no longer contains: ${from}`);
      return text.replaceAll(from, to);
    }, code);
  },
};
