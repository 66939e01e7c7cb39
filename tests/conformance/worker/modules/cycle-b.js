import { first } from "./cycle-a.js";
export const second = () => `second of ${first()}`;
