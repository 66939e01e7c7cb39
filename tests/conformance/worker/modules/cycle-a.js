import { second } from "./cycle-b.js";
export const first = () => "first";
export const viaB = () => second();
