// Numbers and names as people read them.

const round = (value) => (Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : Number(value.toPrecision(3)));

export const NONE = "–";
export const plain = (name) => String(name ?? NONE).replaceAll("_", " ");
export const number = (value) => (Number.isFinite(value) ? String(round(value)) : NONE);
export const ms = (value) => (!Number.isFinite(value) ? NONE : value >= 1000 ? `${round(value / 1000)} s` : `${round(value)} ms`);
export const percent = (value) => (Number.isFinite(value) ? `${(100 * value).toFixed(1)} %` : NONE);
export const points = (value) => (Number.isFinite(value) ? (Math.round(value * 100) / 100 + 0).toString() : NONE);

const METRICS = { map: "mAP", map_50: "mAP at IoU 0.5", wer: "word error rate", cer: "character error rate", f1: "F1", bleu: "BLEU", chrf: "chrF" };
export const metric = (name) => METRICS[name] ?? plain(name);

const ENGINES = { openvino: "OpenVINO", onnxruntime: "ONNX Runtime", torch_eager: "PyTorch", torch_gpu: "PyTorch on a GPU" };
export const engine = (name) => ENGINES[name] ?? plain(name);

export function bytes(value) {
  if (!Number.isFinite(value)) return NONE;
  if (value >= 1e9) return `${round(value / 1e9)} GB`;
  return value >= 1e5 ? `${round(value / 1e6)} MB` : `${round(value / 1e3)} kB`;
}

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return NONE;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function when(iso) {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return NONE;
  return at.toLocaleString("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
}

export const many = (count, one, more = `${one}s`) => `${count} ${count === 1 ? one : more}`;

export const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
