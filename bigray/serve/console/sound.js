// Recording and decoding in the page. Endpoints take WAV and FLAC; browsers record WebM or MP4, so whatever is not WAV or
// FLAC already is decoded here and written as 16-bit mono WAV.

export const RATE = 16000;

export const canRecord = () => Boolean(navigator.mediaDevices?.getUserMedia && globalThis.MediaRecorder);

/** Start recording; returns `stop()`, which resolves to a Blob of what was said. */
export async function record() {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const recorder = new MediaRecorder(stream);
  const pieces = [];
  recorder.addEventListener("dataavailable", (event) => pieces.push(event.data));
  const ended = new Promise((resolve) => recorder.addEventListener("stop", resolve));
  recorder.start();
  return async () => {
    if (recorder.state !== "inactive") recorder.stop();
    await ended;
    stream.getTracks().forEach((track) => track.stop());
    return new Blob(pieces, { type: recorder.mimeType });
  };
}

/** Decode a file and mix it to one channel at 16 kHz; throws when the browser cannot read it. */
export async function decode(blob) {
  const context = new OfflineAudioContext(1, 1, RATE);
  const source = await context.decodeAudioData(await blob.arrayBuffer());
  const offline = new OfflineAudioContext(1, Math.max(1, Math.ceil(source.duration * RATE)), RATE);
  const node = new AudioBufferSourceNode(offline, { buffer: source });
  node.connect(offline.destination);
  node.start();
  return (await offline.startRendering()).getChannelData(0);
}

async function isPlain(blob) {
  const start = new TextDecoder("latin1").decode(await blob.slice(0, 12).arrayBuffer());
  return start.startsWith("fLaC") || (start.startsWith("RIFF") && start.endsWith("WAVE"));
}

/** Return what is sent, and the samples for drawing (none where the browser cannot decode the file). */
export async function prepare(blob) {
  const plain = await isPlain(blob);
  let samples = null;
  try {
    samples = await decode(blob);
  } catch {
    if (!plain) throw new Error("This browser cannot read the file. Use WAV or FLAC.");
  }
  return { blob: plain ? blob : wav(samples), samples };
}

/** Write samples from -1 to 1 as a WAV file. */
export function wav(samples, rate = RATE) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, i) => view.setInt16(44 + 2 * i, Math.max(-1, Math.min(1, value)) * 32767, true));
  return new Blob([view], { type: "audio/wav" });
}

/** The loudest sample of each of `count` stretches, for drawing. */
export function peaks(samples, count) {
  const wide = Math.max(1, Math.floor(samples.length / count));
  return Array.from({ length: Math.min(count, samples.length) }, (_, i) => {
    let top = 0;
    for (let k = i * wide; k < Math.min(samples.length, (i + 1) * wide); k++) top = Math.max(top, Math.abs(samples[k]));
    return top;
  });
}
