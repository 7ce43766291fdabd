import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vitest/config'
import { compress } from './compress.ts'

// Where `npm run dev` finds the server.
const server = process.env.HEWEI_DEV_SERVER ?? 'http://127.0.0.1:8080'

export default defineConfig({
  plugins: [svelte(), compress()],
  build: {
    target: 'es2022',
    // The content security policy allows no inline script, style or font.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: {
      '/api': { target: server, secure: false },
      '/ws': { target: server, secure: false, ws: true },
    },
  },
  test: { include: ['src/**/*.test.ts'] },
})
