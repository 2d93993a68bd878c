/**
 * The cheapest one-to-one assignment of rows to columns (Hungarian method with potentials, as in Jonker and Volgenant
 * 1987; O(rows² × columns)). A cost of Infinity forbids a pair; a row may stay without a column.
 */
export function assign(costs: readonly (readonly number[])[], columns: number): { row: number; column: number }[] {
  const rows = costs.length;
  if (rows === 0 || columns === 0) return [];
  // Each row has one more column of its own, "unassigned", dearer than any allowed pair together.
  let dearest = 1;
  for (const line of costs) for (const cost of line) if (Number.isFinite(cost)) dearest += Math.abs(cost);
  const width = columns + rows;
  const cost = (row: number, column: number) => {
    const value = column < columns ? (costs[row]?.[column] ?? Number.POSITIVE_INFINITY) : dearest;
    return Number.isFinite(value) ? value : dearest * 4;
  };
  const rowPotential = new Float64Array(rows + 1);
  const columnPotential = new Float64Array(width + 1);
  const rowOf = new Int32Array(width + 1); // 0: free; rows count from 1 here
  const cameFrom = new Int32Array(width + 1);
  for (let row = 1; row <= rows; row += 1) {
    const least = new Float64Array(width + 1).fill(Number.POSITIVE_INFINITY);
    const visited = new Uint8Array(width + 1);
    let column = 0;
    rowOf[0] = row;
    do {
      visited[column] = 1;
      const current = rowOf[column] as number;
      let step = Number.POSITIVE_INFINITY;
      let next = 0;
      for (let j = 1; j <= width; j += 1) {
        if (visited[j]) continue;
        const reduced = cost(current - 1, j - 1) - (rowPotential[current] as number) - (columnPotential[j] as number);
        if (reduced < (least[j] as number)) {
          least[j] = reduced;
          cameFrom[j] = column;
        }
        if ((least[j] as number) < step) {
          step = least[j] as number;
          next = j;
        }
      }
      for (let j = 0; j <= width; j += 1) {
        if (visited[j]) {
          rowPotential[rowOf[j] as number] = (rowPotential[rowOf[j] as number] as number) + step;
          columnPotential[j] = (columnPotential[j] as number) - step;
        } else least[j] = (least[j] as number) - step;
      }
      column = next;
    } while (rowOf[column] !== 0);
    do {
      const previous = cameFrom[column] as number;
      rowOf[column] = rowOf[previous] as number;
      column = previous;
    } while (column !== 0);
  }
  const pairs: { row: number; column: number }[] = [];
  for (let j = 1; j <= columns; j += 1) {
    const row = (rowOf[j] as number) - 1;
    if (row >= 0 && Number.isFinite(costs[row]?.[j - 1] ?? Number.POSITIVE_INFINITY))
      pairs.push({ row, column: j - 1 });
  }
  return pairs.sort((p, q) => p.row - q.row);
}
