import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

/** Where `vite dashboard` (development only) finds a running gateway. */
const gateway = process.env.VIGILANE_GATEWAY ?? "http://127.0.0.1:8800";

export default defineConfig({
  base: "/",
  plugins: [react()],
  build: {
    target: "es2023",
    // The gateway's policy allows neither data: URLs nor inline scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    emptyOutDir: true,
  },
  server: {
    proxy: { "/api": gateway, "/images": gateway, "/jobs": gateway, "/socket.io": { target: gateway, ws: true } },
  },
});
