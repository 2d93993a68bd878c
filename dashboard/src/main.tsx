import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import "./tokens.css";
import "./base.css";
import { App } from "./App.tsx";
import { connect } from "./live/connect.ts";

const page = document.getElementById("page");
if (!page) throw new Error("index.html has no element #page");

connect();
createRoot(page).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
