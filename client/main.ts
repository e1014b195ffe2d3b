/** Entry of the browser app. */
import "@fontsource/inter/400.css";
import "@fontsource/inter/600.css";
import "@fontsource/jetbrains-mono/400.css";
import "@fontsource/jetbrains-mono/600.css";
import "./app.css";
import { mount } from "svelte";
import App from "./App.svelte";
import { pageStyle } from "./pageColours.ts";

const colours = new CSSStyleSheet();
colours.replaceSync(pageStyle());
document.adoptedStyleSheets = [colours];

const target = document.getElementById("app");
if (!target) throw new Error("internal: index.html has no #app");
mount(App, { target });
