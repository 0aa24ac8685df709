/** The id of a link is another person's. */
export class LinkOfAnother extends Error {
  override readonly name = 'LinkOfAnother';
}
