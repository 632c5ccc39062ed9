/** Shows how far a job is, and loads the page again at its end. Without this script there is a link for it. */
for (const panel of document.querySelectorAll('[data-progress]')) {
  const bar = panel.querySelector('progress')
  const text = panel.querySelector('[data-text]')
  const source = new EventSource(panel.dataset.progress)
  source.addEventListener('message', ({ data }) => {
    const progress = JSON.parse(data)
    if (progress === null) {
      source.close()
      location.reload()
      return
    }
    text.textContent = progress.text
    if (progress.share === undefined) bar.removeAttribute('value')
    else bar.value = progress.share * 100
  })
}
