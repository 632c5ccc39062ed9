/** Live values of the pages of operations, by server-sent events: only while the page is looked at. */

let source

function show({ data }) {
  const { ended, ...values } = JSON.parse(data)
  for (const element of document.querySelectorAll('[data-live]')) {
    const value = values[element.dataset.live]
    if (value === undefined) continue
    if (element instanceof HTMLProgressElement) element.value = value
    else if (element.textContent !== value) element.textContent = value
  }
  // What ran when the page was loaded has ended: the page has more to say now.
  if (ended && document.querySelector('[data-live="phase"]')) location.reload()
}

function follow() {
  if (document.visibilityState === 'visible') {
    source ??= new EventSource('/operations/live')
    source.onmessage = show
  } else {
    source?.close()
    source = undefined
  }
}

document.addEventListener('visibilitychange', follow)
addEventListener('pagehide', () => source?.close())
follow()
