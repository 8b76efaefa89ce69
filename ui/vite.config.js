import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'

// What a page has chosen, dark or light, must hold before anything is painted: the script is small and local.
const blockRender = {
  name: 'block-render',
  transformIndexHtml: {
    order: 'post',
    handler: (html) => html.replace('<script type="module" crossorigin', '<script type="module" blocking="render"')
      .replace('<link rel="stylesheet" crossorigin', '<link rel="stylesheet"'),
  },
}

export default defineConfig({
  plugins: [svelte({ compilerOptions: { fragments: 'tree' } }), blockRender],
  build: {
    target: 'es2022',
    assetsDir: 'ui',
    modulePreload: false,
    reportCompressedSize: false,
    rollupOptions: { output: { entryFileNames: 'ui/app-[hash].js', assetFileNames: 'ui/app-[hash][extname]' } },
  },
  // npm run dev: the pages from here, everything else from a server that runs on its usual port.
  server: {
    proxy: Object.fromEntries(['/v1', '/docs', '/metrics', '/readyz', '/openapi.json']
      .map((path) => [path, { target: 'http://127.0.0.1:8484', ws: true, changeOrigin: true }])),
  },
})
