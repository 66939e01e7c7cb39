import { parent } from "../parent.js";
export const name = "deep";
export const fromParent = parent();
export default { deep: true };
