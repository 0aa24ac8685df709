/**
 * A link from elsewhere brings no cookie along, so that it ends here although somebody
 * is logged in: a request from this page tells, and then the way goes on.
 */
void fetch('/login/known')
  .then((response) => response.json() as Promise<{ isKnown?: boolean }>)
  .then(({ isKnown }) => {
    const next = document.querySelector<HTMLInputElement>('input[name=next]');
    if (isKnown === true && next) location.replace(next.value);
  })
  // The form is there all the same.
  .catch(() => undefined);
