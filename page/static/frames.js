/** The stream of frames: reports a lost connection and the age of the last frame, and reconnects. */

const STALE_AFTER = 2_000;
const RETRY_AFTER = 1_000;
const GIVE_UP_AFTER = 10_000;
const LOOK_EVERY = 250;

/** Follow a stream: `onFrame(frame)` for each, `onLost(seconds)` without frames, `onFound()` when they are back. */
export function follow(url, { onFrame, onLost, onFound }) {
  let source, last = Date.now(), opened = 0, isLost = false, retry = null;

  function open() {
    retry = null;
    opened = Date.now();
    source?.close();
    source = new EventSource(url);
    source.addEventListener("message", (event) => {
      last = Date.now();
      if (isLost) {
        isLost = false;
        onFound();
      }
      onFrame(JSON.parse(event.data));
    });
    source.addEventListener("error", () => {
      source.close();
      lose();
      retry ??= setTimeout(open, RETRY_AFTER);
    });
  }

  function lose() {
    isLost = true;
    onLost((Date.now() - last) / 1000);
  }

  // A hanging process closes no connection. A silent connection is abandoned after a while.
  setInterval(() => {
    if (isLost || Date.now() - Math.max(last, opened) > STALE_AFTER) lose();
    if (retry === null && Date.now() - Math.max(last, opened) > GIVE_UP_AFTER) open();
  }, LOOK_EVERY);
  open();
}
