/** /jobs: bull-board in a frame, and beside it what a queue cannot show: the waiting room and the newest outcomes. */
import { fileURLToPath } from "node:url";
import express, { type Router } from "express";

const FOLDER = fileURLToPath(new URL("./jobs-page/", import.meta.url));

/** Mounted at /jobs, with `board` at /jobs/board. */
export function createJobsPage(board: Router): Router {
  const router = express.Router();
  router.use("/board", board);
  router.get("/", (_request, response) => response.sendFile("jobs.html", { root: FOLDER }));
  router.use(express.static(FOLDER, { index: false }));
  return router;
}
