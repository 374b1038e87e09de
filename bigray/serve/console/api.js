// Asking the service. The API key, where one is wanted, lives in this tab's sessionStorage and nowhere else.

const KEY = "bigray.key";

export class Problem extends Error {
  /** An RFC 9457 document, or what stands in its place when there was none. */
  constructor(status, body, retryAfter, requestId) {
    super(body.detail || body.title || `The service answered ${status}.`);
    this.status = status;
    this.code = body.code ?? "";
    this.title = body.title ?? "";
    this.errors = Array.isArray(body.errors) ? body.errors : [];
    this.retryAfter = Number(retryAfter) || 0;
    this.requestId = requestId ?? body.request_id ?? "";
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** Send a request to a path below this page; returns the response, throws a Problem for everything else. */
export async function request(path, options = {}) {
  const headers = { accept: "application/json, audio/*;q=0.9", ...options.headers };
  if (key.get()) headers.authorization = `Bearer ${key.get()}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { title: "No connection", detail: "The service cannot be reached.", code: "unreachable" });
  }
  if (response.ok) return response;
  let body = {};
  try {
    body = await response.json();
  } catch {
    // not one of ours: the status alone must do
  }
  throw new Problem(response.status, body ?? {}, response.headers.get("retry-after"), response.headers.get("x-request-id"));
}

export const get = async (path) => (await request(path)).json();

/** Ask a model; returns its answer (data, or a Blob of sound), how long it took in ms, and the request's id. */
export async function ask(model, inputs, parameters, signal) {
  const body = JSON.stringify(parameters ? { inputs, parameters } : { inputs });
  const began = performance.now();
  const response = await request(`models/${encodeURIComponent(model)}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
    signal,
  });
  const sound = (response.headers.get("content-type") ?? "").startsWith("audio/");
  const answer = sound ? await response.blob() : await response.json();
  return { answer, took: performance.now() - began, requestId: response.headers.get("x-request-id") ?? "" };
}

/** Return the content of a file as base64, the form in which JSON carries it. */
export async function base64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}
