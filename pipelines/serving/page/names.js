// Names of files; where two that were seen are called the same, the folder tells them apart.

import { h } from "./dom.js";

const paths = new Map(); // of every name, for as long as the page is open

export function learn(hits) {
  for (const { name, path } of hits) {
    if (!paths.has(name)) paths.set(name, new Set());
    paths.get(name).add(path);
  }
}

export function folderOf(hit) {
  if ((paths.get(hit.name)?.size ?? 0) < 2) return "";
  return hit.path.includes("/") ? hit.path.slice(0, hit.path.lastIndexOf("/")) : "./";
}

export function named(hit) {
  const folder = folderOf(hit);
  return folder ? `${hit.name} in ${folder}` : hit.name;
}

export function nameOf(hit) {
  const folder = folderOf(hit);
  return [h("bdi", { class: "name" }, hit.name), folder && h("span", { class: "folder" }, "in ", h("bdi", {}, folder))];
}
