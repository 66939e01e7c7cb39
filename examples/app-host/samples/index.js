// Apps to start from, written the way a language model writes them when asked for "a small app as a
// Durable Object". They are plain text here: the supervisor loads them like any pasted code.
import expenses from "./expenses.js.txt";
import guestbook from "./guestbook.js.txt";
import links from "./links.js.txt";
import poll from "./poll.js.txt";
import todo from "./todo.js.txt";

export const samples = [
  { id: "guestbook", title: "Guestbook", description: "Visitors leave their name and a message.", code: guestbook },
  { id: "todo", title: "To-do list", description: "Add, tick off and remove tasks; a small REST API.", code: todo },
  { id: "poll", title: "Poll", description: "One question, some options, live results.", code: poll },
  { id: "expenses", title: "Expense tracker", description: "Amounts by category with sums from SQL.", code: expenses },
  { id: "links", title: "URL shortener", description: "Short links with a count of visits.", code: links },
];
