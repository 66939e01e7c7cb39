// Response as the platform has it.
// API: https://developers.cloudflare.com/workers/runtime-apis/response/

import { core, primordials } from "ext:core/mod.js";
import { override, readOnly, reworded } from "ext:facetd_rpc/16_overlay.js";
import { giveTo, requireContext } from "ext:facetd_rpc/00_context.js";
import { homeOfBody, requireOwnBody, shareBody } from "ext:facetd_rpc/17_ownership.js";
import { CLONE_TEXTS, overrideReaders } from "ext:facetd_rpc/18_body.js";

const { Number, ObjectPrototypeIsPrototypeOf, RangeError, ReflectApply, TypeError } = primordials;
const { InnerBody } = core.loadExtScript("ext:deno_fetch/22_body.js");
const { Response, redirectStatus, ResponsePrototype, toInnerResponse } = core.loadExtScript(
  "ext:deno_fetch/23_response.js",
);

/** The inner response of a Response; undefined for anything else. */
function innerOf(value) {
  return ObjectPrototypeIsPrototypeOf(ResponsePrototype, value) ? toInnerResponse(value) : undefined;
}

const { json, redirect } = Response;
override(Response, {
  json(value, init = undefined) {
    if (arguments.length === 0) {
      throw new TypeError("Failed to execute 'json' on 'Response': parameter 1 is not of type 'Value'.");
    }
    const home = requireContext();
    let response;
    try {
      response = ReflectApply(json, this, [value, init]);
    } catch (error) {
      if (error?.message !== "Value is not JSON serializable") throw error;
      // What has no JSON is sent as the word.
      response = ReflectApply(json, this, [null, init]);
      toInnerResponse(response).body = new InnerBody({ body: "undefined", consumed: false });
    }
    giveTo(response, home);
    return response;
  },
  redirect(url, status = 302) {
    requireContext();
    if (arguments.length === 0) {
      throw new TypeError("Failed to execute 'redirect' on 'Response': parameter 1 is not of type 'string'.");
    }
    const code = Number(status);
    if (!redirectStatus(code)) {
      throw new RangeError(`${code} is not a redirect status code. It must be one of: 301, 302, 303, 307, or 308.`);
    }
    const text = `${url}`;
    try {
      return ReflectApply(redirect, this, [text, code]);
    } catch (error) {
      throw reworded(error, [["Invalid URL", `Unable to parse URL: ${text}`]]);
    }
  },
});

const { clone } = Response.prototype;
override(Response.prototype, {
  clone() {
    const body = innerOf(this)?.body;
    requireOwnBody(this, body);
    const home = body ? homeOfBody(this, body) : undefined;
    try {
      const copy = ReflectApply(clone, this, []);
      shareBody(home, this, body, copy, toInnerResponse(copy).body);
      return copy;
    } catch (error) {
      throw reworded(error, CLONE_TEXTS);
    }
  },
});
overrideReaders(Response.prototype, innerOf);
readOnly(Response.prototype, "Response", [
  "body",
  "bodyUsed",
  "headers",
  "ok",
  "redirected",
  "status",
  "statusText",
  "type",
  "url",
]);

export { Response };
