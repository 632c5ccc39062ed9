/** What pages do beyond links and forms: times in the viewer's zone, copying, the time left of a reason, the place on Back. */

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'short', timeStyle: 'medium' })
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone

/** Adds the viewer's time beside UTC, once. */
function localTimes(root) {
  if (zone === 'UTC' || zone === 'Etc/UTC') return
  for (const element of root.querySelectorAll('time[datetime]:not([data-local])')) {
    element.dataset.local = ''
    const local = document.createElement('span')
    local.className = 'local'
    const format = element.dataset.shows === 'clock' ? clock : full
    local.textContent = ` (${format.format(new Date(element.dateTime))})`
    element.append(local)
  }
}

function copyButtons(root) {
  if (!navigator.clipboard) return
  for (const button of root.querySelectorAll('button[data-copy][hidden]')) {
    button.hidden = false
    button.addEventListener('click', async () => {
      await navigator.clipboard.writeText(button.previousElementSibling.textContent)
      button.textContent = 'Copied'
      setTimeout(() => {
        button.textContent = 'Copy'
      }, 2000)
    })
  }
}

/** Counts down; once a reason has ended, personal data leaves the screen. */
function countDown() {
  const element = document.querySelector('[data-until]')
  if (!element) return
  const until = new Date(element.dataset.until).getTime()
  const tick = () => {
    const minutes = Math.ceil((until - Date.now()) / 60_000)
    if (minutes <= 0) return location.reload()
    element.textContent = `(${minutes} min left)`
    setTimeout(tick, Math.max(1000, (until - Date.now()) % 60_000))
  }
  tick()
}

/** Back returns to the row whose link was followed, also on a page that comes in parts. */
function keepPlace() {
  document.addEventListener('click', ({ target }) => {
    const row = target.closest?.('a')?.closest('[data-place][id]')
    if (row) history.replaceState(history.state, '', `#${row.id}`)
  })
}

const note = document.querySelector('.zone-note')
if (note && zone !== 'UTC' && zone !== 'Etc/UTC') note.textContent = `, beside them in ${zone}`
localTimes(document)
copyButtons(document)
countDown()
keepPlace()

// Parts that come later, while the page is still loading or by a script.
new MutationObserver((changes) => {
  for (const { addedNodes } of changes) {
    for (const node of addedNodes) {
      if (node.nodeType !== Node.ELEMENT_NODE) continue
      localTimes(node)
      copyButtons(node)
    }
  }
}).observe(document.body, { childList: true, subtree: true })
