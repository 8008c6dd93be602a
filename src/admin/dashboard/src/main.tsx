// Where the page begins.
import { render } from "preact";
import { App } from "./app";
import "uplot/dist/uPlot.min.css";
import "./style.css";

const page = document.getElementById("page");
if (page !== null) render(<App />, page);
