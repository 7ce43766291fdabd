import './app.css'
import { mount } from 'svelte'
import App from './App.svelte'
import { i18n } from './lib/i18n/index.svelte'

const target = document.getElementById('app')
if (!target) throw new Error('index.html has no #app')
void i18n.ready().then(() => mount(App, { target }))
