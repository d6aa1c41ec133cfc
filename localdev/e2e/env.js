// What the driver tells the tests: where everything listens, and who is calling.

import assert from 'node:assert/strict';

// required returns an environment variable that the driver must have set.
export function required(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set; these tests are run by go test ./localdev`);
  return value;
}

// pairs reads "aws=x,gcp=y" into a Map.
export function pairs(name) {
  const map = new Map();
  for (const pair of required(name).split(',')) {
    const at = pair.indexOf('=');
    assert.ok(at > 0, `${name} must be name=value pairs with commas between them, has "${pair}"`);
    map.set(pair.slice(0, at), pair.slice(at + 1));
  }
  return map;
}

// origin returns an address without a slash at its end.
export function origin(address) {
  return address.replace(/\/$/, '');
}
