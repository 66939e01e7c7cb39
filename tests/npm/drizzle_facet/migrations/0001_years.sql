ALTER TABLE `books` ADD `year` integer DEFAULT 1900 NOT NULL;--> statement-breakpoint
CREATE INDEX `books_year` ON `books` (`year`);
