// Frames from the server, and whether they still come.

// Milliseconds without a frame after which the page says so; five come each second.
const SILENCE = 2000;

/** Follow `url`: `onFrame(frame)` for each, `onState(isLost, milliseconds since the last)` when that changes. */
export function follow(url, onFrame, onState) {
  let last = performance.now();
  let isLost = false;
  const source = new EventSource(url);
  const tell = (lost) => {
    isLost = lost;
    onState(lost, performance.now() - last);
  };
  source.addEventListener("message", (event) => {
    last = performance.now();
    if (isLost) tell(false);
    onFrame(JSON.parse(event.data));
  });
  source.addEventListener("error", () => tell(true));
  setInterval(() => {
    if (isLost || performance.now() - last > SILENCE) tell(true);
    // A server that was away for long is not asked any more by some browsers.
    if (source.readyState === EventSource.CLOSED) location.reload();
  }, 1000);
}

/** Run `render` once in the next frame of the screen, however often it is asked for. */
export function painter(render) {
  let isAsked = false;
  return () => {
    if (isAsked) return;
    isAsked = true;
    requestAnimationFrame(() => {
      isAsked = false;
      render();
    });
  };
}
