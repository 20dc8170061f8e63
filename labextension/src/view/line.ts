/** A word as a shell would need it (Python's shlex.quote). */
export function quoted(value: string): string {
  return value !== '' && !/[^\w@%+=:,./-]/.test(value) ? value : `'${value.replaceAll("'", `'"'"'`)}'`;
}
