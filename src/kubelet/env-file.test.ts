import assert from 'node:assert/strict';
import { test } from 'node:test';
import { envFileValue } from './env-file.ts';

test('a file of environment variables is read as upstream reads it', () => {
  const text = `# comment\n\n  A='one' # more\nB='two\nlines'\nC= 'nothing'\nD=''\n\tE='#no comment'\n`;
  assert.deepEqual(
    ['A', 'B', 'C', 'D', 'E', 'F'].map((k) => envFileValue(text, k)),
    ['one', 'two\nlines', '', '', '#no comment', ''],
  );
  for (const [bad, why] of [
    ['A', "at line 1: missing '='"],
    ["='x'", 'at line 1: empty variable name'],
    ["A ='x'", "at line 1: whitespace before '=' is not allowed"],
    ['\nA=x', 'at line 2: value must be enclosed in single quotes'],
    ["A='x' y", 'at line 1: unexpected content after closing quote'],
    ["A='x\ny", 'starting at line 1: unclosed single quote'],
  ] as const)
    assert.throws(() => envFileValue(bad, 'Z'), { message: `invalid environment variable format ${why}` });
});
