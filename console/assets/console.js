/**
 * What pages do beyond links and forms: times in the viewer's zone, copying, stopping a search, the time left of a reason,
 * sliders, the place on Back. It runs while a page is still coming, so parts are made ready as they come.
 */

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'short', timeStyle: 'medium' })
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone
const isUtc = zone === 'UTC' || zone === 'Etc/UTC'

/** What is made ready, by selector; each element once. */
const FEATURES = {
  /** The viewer's time beside UTC. */
  'time[datetime]'(element) {
    if (isUtc) return
    const local = document.createElement('span')
    local.className = 'local'
    local.textContent = ` (${(element.dataset.shows === 'clock' ? clock : full).format(new Date(element.dateTime))})`
    element.append(local)
  },
  '.zone-note'(element) {
    if (!isUtc) element.textContent = `, beside them in ${zone}`
  },
  'button[data-copy]'(button) {
    if (!navigator.clipboard) return
    button.hidden = false
    button.addEventListener('click', async () => {
      await navigator.clipboard.writeText(button.previousElementSibling.textContent)
      button.textContent = 'Copied'
    })
  },
  /** Counts down. Once a reason has ended, personal data leaves the screen. */
  '[data-left]'(element) {
    // The server says how long, because this computer's clock may be another one.
    const until = Date.now() + Number(element.dataset.left)
    const tick = () => {
      const left = until - Date.now()
      if (left <= 0) return location.reload()
      element.textContent = `(${Math.ceil(left / 60_000)} min left)`
      setTimeout(tick, Math.max(1_000, left % 60_000))
    }
    tick()
  },
  /** Days are in the viewer's zone, unless the page was asked for another one. */
  'input[data-viewer-zone]'(input) {
    input.value = zone
  },
  /** A slider shows what it is at, and goes there when it is let go. */
  'form[data-submits] input[type=range]'(slider) {
    slider.addEventListener('input', () => {
      slider.form.querySelector('output').textContent = slider.value
    })
    slider.addEventListener('change', () => slider.form.requestSubmit())
  },
  /** Stops a search whose rows are still coming. */
  'button[data-stop]'(button) {
    if (document.readyState !== 'loading') return
    button.hidden = false
    button.addEventListener('click', () => {
      window.stop()
      button.textContent = 'Stopped'
      button.disabled = true
    })
    document.addEventListener('DOMContentLoaded', () => {
      button.hidden = !button.disabled
    })
  },
}

const ready = new WeakSet()

function makeReady(root) {
  for (const [selector, feature] of Object.entries(FEATURES)) {
    const found = [...root.querySelectorAll(selector)]
    if (root instanceof Element && root.matches(selector)) found.push(root)
    for (const element of found) {
      if (ready.has(element)) continue
      ready.add(element)
      feature(element)
    }
  }
}

new MutationObserver((changes) => {
  for (const { addedNodes } of changes) {
    for (const node of addedNodes) if (node instanceof Element) makeReady(node)
  }
}).observe(document, { childList: true, subtree: true })
makeReady(document)
// A slider's form may have come after it.
document.addEventListener('DOMContentLoaded', () => makeReady(document))

/** Back returns to the row whose link was followed, also on a page that comes in parts. */
document.addEventListener('click', ({ target }) => {
  const place = target.closest?.('a')?.closest('[data-place][id]')
  if (place) history.replaceState(history.state, '', `#${place.id}`)
})
