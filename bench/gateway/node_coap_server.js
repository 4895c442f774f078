// The peer: a plain node-coap server that answers each POST with 2.04 and neither decodes nor keeps anything, in its favour.
// Run: node node_coap_server.js FOLDER-WITH-node_modules. Prints "ready port=...", and the number of requests on SIGUSR2.
'use strict'
const dgram = require('node:dgram')
const path = require('node:path')
const coap = require(path.join(process.argv[2], 'node_modules', 'coap'))

let count = 0
const server = coap.createServer({ type: 'udp4' }, (request, response) => {
  count += 1
  response.code = '2.04'
  response.end()
})
process.on('SIGUSR2', () => process.stdout.write(`count ${count}\n`))
// node-coap cannot tell which free port it got, so it is given a socket that knows.
const socket = dgram.createSocket('udp4')
socket.bind(0, '127.0.0.1', () => {
  server.listen(socket, () => process.stdout.write(`ready port=${socket.address().port}\n`))
})
